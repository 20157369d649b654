"""The options several commands share, each defined once: one meaning, one spelling, one environment variable."""

from __future__ import annotations

from typing import Annotated

import typer

Model = Annotated[
    str | None,
    typer.Option("--model", envvar="TFSCTL_MODEL", metavar="NAME", help="The model; needed if several are served."),
]
Host = Annotated[
    str | None,
    typer.Option(
        "--host", envvar="TFSCTL_HOST", metavar="HOST", help="Where the server is; else the running one is found."
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
Grpc = Annotated[bool, typer.Option("--grpc/--rest", envvar="TFSCTL_GRPC", help="Ask over gRPC, or over REST.")]
Signature = Annotated[
    str | None,
    typer.Option(
        "--signature",
        envvar="TFSCTL_SIGNATURE",
        metavar="NAME",
        help="The signature; else serving_default, or the only one.",
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
Json = Annotated[bool, typer.Option("--json", envvar="TFSCTL_JSON", help="Print the answer as one JSON document.")]
