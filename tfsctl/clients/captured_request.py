"""A request that is shown instead of sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfsctl.clients.connection import Connection

if TYPE_CHECKING:
    from tfsctl.clients import Transport


@dataclass(frozen=True, slots=True)
class Call:
    """All there is to one request.

    `path` is the URL's (`/v1/models/m:predict`), or the method of gRPC (`/tensorflow.serving.PredictionService/Predict`);
    `request` the body as bytes, or the message.
    """

    transport: Transport
    host: str
    port: int
    timeout_s: float
    connection: Connection
    path: str
    request: Any


class Withheld(Exception):
    """A request was not made, as the connection asks for; it is here."""

    def __init__(self, call: Call) -> None:
        super().__init__(f"{call.path} was not asked")
        self.call = call
