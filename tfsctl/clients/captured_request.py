"""A request that is shown instead of sent, as the options that print a request or a snippet need it.

A client whose `Connection.capture_requests` is set raises RequestCaptured instead of sending a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfsctl.clients.connection import Connection, Transport


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """One complete request.

    `path` is the path of the URL (`/v1/models/m:predict`) or the gRPC method
    (`/tensorflow.serving.PredictionService/Predict`). `payload` is the body as bytes (REST) or the message (gRPC).
    """

    transport: Transport
    host: str
    port: int
    timeout_s: float
    connection: Connection
    path: str
    payload: Any


class RequestCaptured(Exception):
    """Raised instead of sending `request`, if the connection captures requests."""

    def __init__(self, request: CapturedRequest) -> None:
        super().__init__(f"{request.path} was captured, not sent")
        self.request = request
