"""The options of an encrypted connection and of request headers: --tls, --ca, --cert, --key, --header and the like.

`@takes_connection_options` gives them to a command that has no other options of a server, and passes them to it as one
`Connection`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfsctl.cli.options.option_groups import option_group
from tfsctl.clients.connection import ClientTls, Connection, Header
from tfsctl.errors import InvalidInput

TlsOption = Annotated[
    bool, typer.Option("--tls", envvar="TFSCTL_TLS", help="Use TLS, and trust the system's certificate authorities.")
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="TFSCTL_CA",
        metavar="PEM",
        help="Use TLS, and trust this certificate authority instead of the system's.",
    ),
]
CertOption = Annotated[
    Path | None,
    typer.Option("--cert", envvar="TFSCTL_CERT", metavar="PEM", help="Use TLS with this client certificate."),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key", envvar="TFSCTL_KEY", metavar="PEM", help="The private key of --cert, if it is in another file."
    ),
]
TlsServerNameOption = Annotated[
    str | None,
    typer.Option(
        "--tls-server-name",
        envvar="TFSCTL_TLS_SERVER_NAME",
        metavar="NAME",
        help="Use TLS, and expect this name in the server's certificate (default: the host).",
    ),
]
HeadersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", "-H", metavar="NAME:VALUE", help="Send an HTTP header, or gRPC metadata. May be repeated."
    ),
]
HeaderVariablesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header-env",
        metavar="NAME=VAR",
        help="Send a header whose value is in the environment variable VAR, e.g. 'authorization=Bearer MY_TOKEN' "
        "for the variable MY_TOKEN. The value is never printed. May be repeated.",
    ),
]


def tls_and_headers(
    *,
    use_tls: TlsOption = False,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    tls_server_name: TlsServerNameOption = None,
    headers: HeadersOption = None,
    header_env: HeaderVariablesOption = None,
) -> Connection:
    """The connection that the options describe. Raises InvalidInput for a key alone, or an invalid name or header."""
    if key is not None and cert is None:
        raise InvalidInput("--key needs the certificate it belongs to", hint="add --cert FILE")
    is_encrypted = use_tls or ca is not None or cert is not None or tls_server_name is not None
    literal_headers = [Header.parse(text) for text in headers or ()]
    return Connection(
        tls=ClientTls(ca, cert, key, server_name=tls_server_name) if is_encrypted else None,
        headers=(*literal_headers, *(Header.from_environment(text) for text in header_env or ())),
    )


takes_connection_options = option_group("connection", tls_and_headers)
