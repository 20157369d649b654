"""`--raw`: send a REST body unchanged, and print the body of the answer unchanged (escaped on a terminal)."""

from __future__ import annotations

from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import find_target
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput


def post(options: ServerOptions, verb: str, body: bytes) -> None:
    """Post a body without checking it, and print the body of the answer, even if that is an error.

    Raises InvalidInput over gRPC, and the error for the HTTP status after printing the body.
    """
    from tfsctl.clients.rest import RestClient
    from tfsctl.engines.registry import records

    target = find_target(options, records.running())
    with target.connect() as client:
        if not isinstance(client, RestClient):
            raise InvalidInput(
                "--raw sends a REST request body, and cannot be used with --grpc", hint="remove --grpc or --raw"
            )
        content, error = client.send_raw(target.model, verb, body)
    terminal.answer_raw(content)
    if error is not None:
        raise error
