"""`--raw`: a REST body as it is, and the body that came as it is."""

from __future__ import annotations

from tfsctl.cli.options.target import Asked, find_target
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput


def post(asked: Asked, verb: str, body: bytes) -> None:
    """Post a body and print the one that came, refusal or not; nothing is asked or checked before.

    Raises InvalidInput over gRPC, and what the server's refusal is.
    """
    from tfsctl.clients.rest import RestClient
    from tfsctl.engines.registry import records

    target = find_target(asked, records.running())
    with target.connect() as client:
        if not isinstance(client, RestClient):
            raise InvalidInput("--raw sends a body of the REST API", hint="leave out --grpc, or --raw")
        content, refusal = client.send_raw(target.model, verb, body)
    terminal.answer_bytes(content)
    if refusal is not None:
        raise refusal
