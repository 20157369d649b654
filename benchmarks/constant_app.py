"""What the server stack alone can do: an ASGI application that answers a constant, over gRPC and REST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tfsctl.core import protos

Message = MutableMapping[str, Any]

GRPC, OK = [(b"content-type", b"application/grpc")], [(b"grpc-status", b"0")]
JSON = [(b"content-type", b"application/json")]
REST_ANSWER = b'{\n    "predictions": [[0.5]\n    ]\n}'


def _grpc_answer() -> bytes:
    response = protos.PredictResponse()
    response.outputs["score"].dtype = 1
    response.outputs["score"].float_val.append(0.5)
    message: bytes = response.SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


GRPC_ANSWER = _grpc_answer()


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer whatever is asked with the same score."""
    if scope["type"] != "http":
        return
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if scope["path"].startswith("/v1/"):
        await send({"type": "http.response.start", "status": 200, "headers": JSON})
        await send({"type": "http.response.body", "body": REST_ANSWER})
        return
    await send({"type": "http.response.start", "status": 200, "headers": GRPC, "trailers": True})
    await send({"type": "http.response.body", "body": GRPC_ANSWER})
    await send({"type": "http.response.trailers", "headers": OK, "more_trailers": False})
