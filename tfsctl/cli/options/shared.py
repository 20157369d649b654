"""The options several commands share, each defined once: one meaning, one spelling, one environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfsctl.cli.options import completion

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="TFSCTL_MODEL",
        metavar="NAME",
        autocompletion=completion.models,
        help="The model; needed if several are served.",
    ),
]
Server = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", autocompletion=completion.servers, help="The server; needed if there are several."
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host",
        envvar="TFSCTL_HOST",
        metavar="HOST",
        help="Where the server is, or unix:SOCKET; else the running one is found.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port",
        envvar="TFSCTL_PORT",
        metavar="PORT",
        min=1,
        max=65535,
        help="Its port; else 8501, or 8500 with --grpc.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TFSCTL_URL",
        metavar="URL",
        help="The server behind a gateway: https://HOST/PATH, or the whole URL of a model.",
    ),
]
Grpc = Annotated[bool, typer.Option("--grpc/--rest", envvar="TFSCTL_GRPC", help="Ask over gRPC, or over REST.")]
Signature = Annotated[
    str | None,
    typer.Option(
        "--signature",
        envvar="TFSCTL_SIGNATURE",
        metavar="NAME",
        autocompletion=completion.signatures,
        help="The signature; else serving_default, or the only one.",
    ),
]
Signatures = Annotated[
    list[str] | None,
    typer.Option(
        "--signature",
        metavar="NAME",
        autocompletion=completion.signatures,
        help="The signature, if several fit; may be repeated.",
    ),
]
Version = Annotated[
    int | None,
    typer.Option("--version", envvar="TFSCTL_VERSION", min=0, metavar="N", help="The version; else the latest."),
]
Label = Annotated[
    str | None, typer.Option("--label", envvar="TFSCTL_LABEL", metavar="NAME", help="The version with this label.")
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", envvar="TFSCTL_TIMEOUT", min=0.001, metavar="SECONDS", help="How long to wait."),
]
ConnectTimeout = Annotated[
    float | None,
    typer.Option(
        "--connect-timeout",
        envvar="TFSCTL_CONNECT_TIMEOUT",
        min=0.001,
        metavar="SECONDS",
        help="How long to wait for the connection alone.",
    ),
]
UseTls = Annotated[
    bool, typer.Option("--tls", envvar="TFSCTL_TLS", help="Encrypt; the system's authorities are trusted.")
]
Ca = Annotated[
    Path | None, typer.Option("--ca", envvar="TFSCTL_CA", metavar="PEM", help="TLS: the authority to trust instead.")
]
Cert = Annotated[
    Path | None, typer.Option("--cert", envvar="TFSCTL_CERT", metavar="PEM", help="TLS: the certificate to show.")
]
Key = Annotated[
    Path | None,
    typer.Option("--key", envvar="TFSCTL_KEY", metavar="PEM", help="TLS: its key, if that is in another file."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="NAME:VALUE", help="A header, or gRPC metadata; may be repeated."),
]
HeaderVariables = Annotated[
    list[str] | None,
    typer.Option(
        "--header-env",
        metavar="NAME=VAR",
        help="A header from a variable, which is never shown: 'authorization=Bearer TOKEN'.",
    ),
]
Proxy = Annotated[
    str | None,
    typer.Option(
        "--proxy", envvar="TFSCTL_PROXY", metavar="URL", help="The HTTP proxy to go through; else the environment's."
    ),
]
Compressed = Annotated[
    Literal["gzip"] | None,
    typer.Option("--compression", envvar="TFSCTL_COMPRESSION", help="Compress what is sent."),
]
KeepAlive = Annotated[
    float | None,
    typer.Option(
        "--keepalive",
        envvar="TFSCTL_KEEPALIVE",
        min=0.001,
        metavar="SECONDS",
        help="Keep an idle connection so long (REST), or ping so often (gRPC).",
    ),
]
Balanced = Annotated[
    Literal["round_robin"] | None,
    typer.Option("--lb", envvar="TFSCTL_LB", help="Spread gRPC requests over all addresses of the host name."),
]
Json = Annotated[bool, typer.Option("--json", envvar="TFSCTL_JSON", help="Print the answer as one JSON document.")]
Named = Annotated[
    list[str] | None,
    typer.Option("-i", "--input", metavar="NAME=VALUE", help="A value by name; NAME=@FILE reads it. May be repeated."),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", metavar="FILE", help="The names of the classes: one a line, or JSON."),
]
Top = Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="The N highest classes of each row.")]
Raw = Annotated[bool, typer.Option("--raw", help="Send INPUT as a REST body, and print the body that comes.")]
