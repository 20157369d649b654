"""The same answer to every request, over gRPC and REST: the most that a server on that stack could reach.

`serving.py` and `quick.py` start it and measure it. It prints nothing.

pyvoy constant_app:application --port 8500                       as ASGI, inside Envoy
python benchmarks/constant_app.py GRPC_PORT REST_PORT            on the embedded server's own transport
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

GRPC, OK = ((b"content-type", b"application/grpc"),), ((b"grpc-status", b"0"),)
REST_ANSWER = b'{\n    "predictions": [[0.5]\n    ]\n}'
JSON = ((b"content-type", b"application/json"),)
MESSAGE = bytes.fromhex("0a110a0573636f7265120808012a040000003f")  # PredictResponse: outputs {score: [0.5]}
GRPC_ANSWER = b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE

Message = MutableMapping[str, Any]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer as an ASGI application."""
    if scope["type"] != "http":
        return
    message = await receive()
    while message.get("more_body"):
        message = await receive()
    if scope["path"].startswith("/v1/"):
        await send({"type": "http.response.start", "status": 200, "headers": list(JSON)})
        await send({"type": "http.response.body", "body": REST_ANSWER})
        return
    await send({"type": "http.response.start", "status": 200, "headers": list(GRPC), "trailers": True})
    await send({"type": "http.response.body", "body": GRPC_ANSWER})
    await send({"type": "http.response.trailers", "headers": list(OK), "more_trailers": False})


async def _serve(grpc_port: int, rest_port: int) -> None:
    from tfsctl.server.http.exchange import Exchange
    from tfsctl.server.http.listener import Address, Listener

    async def answer(exchange: Exchange) -> None:
        await exchange.body(1 << 31)
        if exchange.port == rest_port:
            await exchange.reply(200, JSON, REST_ANSWER)
        else:
            await exchange.reply(200, GRPC, GRPC_ANSWER, OK)

    listener = Listener(
        answer, [Address("127.0.0.1", grpc_port), Address("127.0.0.1", rest_port)], max_connections=10_000
    )
    await listener.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grpc_port", type=int)
    parser.add_argument("rest_port", type=int)
    ports = parser.parse_args()
    uvloop.run(_serve(ports.grpc_port, ports.rest_port))
