"""The options that choose the server and the model, and how to reach them: --model, --host, --tls and so on.

A command that is decorated with `@takes_server_options` has them all, and receives them as one `ServerOptions`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfsctl.cli.options.completion import complete_models, complete_profiles, complete_servers
from tfsctl.cli.options.connection_options import (
    CaOption,
    CertOption,
    HeadersOption,
    HeaderVariablesOption,
    KeyOption,
    TlsOption,
    TlsServerNameOption,
    tls_and_headers,
)
from tfsctl.cli.options.option_groups import option_group
from tfsctl.cli.options.quantities import parse_size
from tfsctl.cli.options.value_checks import check_values
from tfsctl.clients.connection import (
    DEFAULT_CONNECTION,
    DEFAULT_MAX_ANSWER_BYTES,
    DEFAULT_TIMEOUT_S,
    ClientTls,
    Connection,
    Transport,
    with_headers,
)
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.clients.profiles.profile_file import Profile
_GRPC_URL = r"grpc(s?)://([\w.-]+)(?::(\d+))?/?"  # a string: compiled when first used

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        envvar="TFSCTL_MODEL",
        metavar="NAME",
        autocompletion=complete_models,
        help="The name of the model; needed if several are served.",
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="TFSCTL_SERVER",
        metavar="NAME",
        autocompletion=complete_servers,
        help="The server's name in `tfsctl ps`; needed if several servers serve the model.",
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        envvar="TFSCTL_PROFILE",
        metavar="NAME",
        autocompletion=complete_profiles,
        help="A profile in the config file: the URL, model, TLS files and headers of a server.",
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(
        "--host",
        envvar="TFSCTL_HOST",
        metavar="HOST",
        help="The host of the server, or unix:PATH (default: the server that tfsctl started, or localhost).",
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        envvar="TFSCTL_PORT",
        metavar="PORT",
        min=1,
        max=65535,
        help="The port of the server (default: 8501, or 8500 with --grpc).",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="TFSCTL_URL",
        metavar="URL",
        help="The URL of a server behind a gateway: https://HOST/PATH, or the full URL of a model.",
    ),
]
GrpcOption = Annotated[bool, typer.Option("--grpc/--rest", envvar="TFSCTL_GRPC", help="Use gRPC or REST.")]
VersionOption = Annotated[
    int | None,
    typer.Option(
        "--version", envvar="TFSCTL_VERSION", min=0, metavar="N", help="The version of the model (default: the latest)."
    ),
]
LabelOption = Annotated[
    str | None, typer.Option("--label", envvar="TFSCTL_LABEL", metavar="NAME", help="Choose the version by its label.")
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        envvar="TFSCTL_TIMEOUT",
        min=0.001,
        metavar="SECONDS",
        help="The time limit of a request, or of waiting for a model.",
    ),
]
ConnectTimeoutOption = Annotated[
    float | None,
    typer.Option(
        "--connect-timeout",
        envvar="TFSCTL_CONNECT_TIMEOUT",
        min=0.001,
        metavar="SECONDS",
        help="The time limit for connecting (default: that of --timeout).",
    ),
]
MaxAnswerOption = Annotated[
    int | None,
    typer.Option(
        "--max-answer",
        envvar="TFSCTL_MAX_ANSWER",
        metavar="SIZE",
        parser=parse_size,
        show_default="256m",
        help="Refuse responses larger than this, e.g. 64m or 1g.",
    ),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        "--proxy",
        envvar="TFSCTL_PROXY",
        metavar="URL",
        help="The URL of an HTTP proxy (default: from the environment).",
    ),
]
CompressionOption = Annotated[
    Literal["gzip"] | None,
    typer.Option("--compression", envvar="TFSCTL_COMPRESSION", help="Compress requests."),
]
KeepaliveOption = Annotated[
    float | None,
    typer.Option(
        "--keepalive",
        envvar="TFSCTL_KEEPALIVE",
        min=0.001,
        metavar="SECONDS",
        help="How long to keep an idle connection open (REST), or the interval of pings (gRPC).",
    ),
]
LoadBalancingOption = Annotated[
    Literal["round_robin"] | None,
    typer.Option("--lb", envvar="TFSCTL_LB", help="Distribute gRPC requests over all addresses of the host name."),
]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The values of these options and their environment variables; None for an option that was not given."""

    model: str | None = None
    host: str | None = None
    port: int | None = None
    version: int | None = None
    label: str | None = None
    transport: Transport = "rest"
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = DEFAULT_CONNECTION
    server: str | None = None
    model_is_argument: bool = False  # a positional argument names the model
    profile_model: str | None = None  # the model of the profile; a positional argument overrides it
    typed_address: str | None = None  # the first of --server, --host, --port and --url on the command line

    def with_model(self, text: str | None) -> ServerOptions:
        """Return the options with the model of a positional argument, `NAME` or `NAME@VERSION`.

        Raises InvalidInput if --model or --version is given too and differs.
        """
        if text is None:
            return self
        from tfsctl.core.model_dir import parse_version

        check_values(None, {"the name of the model": text})
        name, _, number = text.rpartition("@")
        version = parse_version(number) if name else None
        if version is None:
            name = text
        model = None if self.model == self.profile_model else self.model
        for option, value, other in (("--model", model, name), ("--version", self.version, version)):
            if None not in (value, other) and value != other:
                raise InvalidInput(f"{text} and {option} {value} cannot be used together", hint="remove one of them")
        version = self.version if version is None else version
        return replace(self, model=name, version=version, model_is_argument=True)

    def with_url(self, text: str) -> ServerOptions:
        """Return the options with host, port, TLS and path of a URL, and with the model if the URL names one.

        Raises InvalidInput if the text is not such a URL, or contradicts other options.
        """
        if self.host is not None or self.port is not None:
            raise InvalidInput("--url contains the host and the port", hint="remove --host and --port")
        if grpc := re.fullmatch(_GRPC_URL, text, re.ASCII):
            tls_option = "--tls " if grpc[1] == "s" else ""
            raise InvalidInput(
                "--url is an address for REST", hint=f"--grpc {tls_option}--host {grpc[2]} --port {grpc[3] or 8500}"
            )
        from tfsctl.inputs.server_url import parse_server_url

        url = parse_server_url(text)
        if url.model is not None and self.model not in (None, url.model):
            raise InvalidInput(
                f"--url names the model {url.model}, --model names {self.model}", hint="remove one of them"
            )
        tls = self.connection.tls or (ClientTls() if url.is_encrypted else None)
        return replace(
            self,
            model=self.model if url.model is None else url.model,
            host=url.host,
            port=url.port,
            version=self.version if url.version is None else url.version,
            label=self.label if url.label is None else url.label,
            connection=replace(self.connection, tls=tls, path=url.path),
        )

    def with_profile(self, profile: Profile) -> ServerOptions:
        """Return the options with the address of a profile. Its model, TLS files and headers are the defaults."""
        base, own = profile.connection, self.connection
        return replace(
            self,
            model=profile.model if self.model is None else self.model,
            profile_model=profile.model if self.model is None else None,
            host=profile.host,
            port=profile.port,
            transport=profile.transport,
            connection=replace(
                self.connection,
                tls=base.tls if own.tls is None else own.tls.over(base.tls),
                headers=with_headers(base.headers, own.headers),
                path=base.path,
            ),
        )


def _server_options(
    *,
    ctx: typer.Context,
    model: ModelOption = None,
    server: ServerOption = None,
    profile: ProfileOption = None,
    host: HostOption = None,
    port: PortOption = None,
    url: UrlOption = None,
    use_grpc: GrpcOption = False,
    version: VersionOption = None,
    label: LabelOption = None,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
    connect_timeout: ConnectTimeoutOption = None,
    max_answer: MaxAnswerOption = None,
    use_tls: TlsOption = False,
    ca: CaOption = None,
    cert: CertOption = None,
    key: KeyOption = None,
    tls_server_name: TlsServerNameOption = None,
    headers: HeadersOption = None,
    header_env: HeaderVariablesOption = None,
    proxy: ProxyOption = None,
    compression: CompressionOption = None,
    keepalive: KeepaliveOption = None,
    lb: LoadBalancingOption = None,
) -> ServerOptions:
    """Build the options from their values.

    An option on the command line overrides the profile. The profile overrides environment variables of other options.
    Raises InvalidInput for an invalid header, URL or combination, and what `load_profile` raises.
    """
    places = {"--server": server, "--host": host, "--port": port, "--url": url}
    chosen = None if profile is None else _load_profile(ctx, profile, places)
    if chosen is not None:
        server = host = port = url = None
        model = None if chosen.model is not None and not _is_typed(ctx, "model") else model
        use_tls = use_tls and _is_typed(ctx, "use_tls")
        ca, cert, key = (
            file if _is_typed(ctx, name) else None for name, file in (("ca", ca), ("cert", cert), ("key", key))
        )
        tls_server_name = tls_server_name if _is_typed(ctx, "tls_server_name") else None
        if _is_typed(ctx, "use_grpc") and use_grpc != (chosen.transport == "grpc"):
            over = "gRPC" if chosen.transport == "grpc" else "REST"
            raise InvalidInput(
                f"the profile {chosen.name} uses {over}", hint=f"remove {'--grpc' if use_grpc else '--rest'}"
            )
    if server is not None and any(place is not None for place in (host, port, url)):
        raise InvalidInput("--server cannot be used with --host, --port or --url", hint="remove one of them")
    check_values(host, {"--model": model, "--label": label})
    own: Mapping[str, Any] = {
        "use_tls": use_tls,
        "ca": ca,
        "cert": cert,
        "key": key,
        "tls_server_name": tls_server_name,
        "headers": headers,
        "header_env": header_env,
    }
    given = {name: value for name, value in own.items() if value not in (None, False)}
    connection = replace(
        tls_and_headers(**given) if given else DEFAULT_CONNECTION,
        proxy=proxy,
        connect_timeout_s=connect_timeout,
        compression=compression,
        keepalive_s=keepalive,
        balancing=lb,
        max_answer_bytes=DEFAULT_MAX_ANSWER_BYTES if max_answer is None else max_answer,
    )
    transport: Transport = "grpc" if use_grpc else "rest"
    options = ServerOptions(model, host, port, version, label, transport, timeout, connection, server)
    options = replace(options, typed_address=next(iter(_typed_addresses(ctx, places)), None))
    if chosen is not None:
        return options.with_profile(chosen)
    return options if url is None else options.with_url(url)


def _is_typed(ctx: typer.Context, parameter: str) -> bool:
    """Whether the value of an option is from the command line, not from its environment variable or default."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def _typed_addresses(ctx: typer.Context, places: Mapping[str, object]) -> list[str]:
    """Those of --server, --host, --port and --url (option -> value) that are on the command line."""
    return [option for option, value in places.items() if value is not None and _is_typed(ctx, option.lstrip("-"))]


def _load_profile(ctx: typer.Context, name: str, places: Mapping[str, object]) -> Profile | None:
    """Read the profile. Returns None if TFSCTL_PROFILE names it, and the command line names another server.

    Raises InvalidInput if the command line names both, and what `load_profile` raises.
    """
    from tfsctl.clients.profiles.profile_file import load_profile

    typed = _typed_addresses(ctx, places)
    if typed and not _is_typed(ctx, "profile"):
        return None
    if typed:
        raise InvalidInput(f"--profile cannot be used with {typed[0]}", hint="remove one of them")
    return load_profile(name)


takes_server_options = option_group("options", _server_options)


def server_options_of(ctx: typer.Context, **changes: object) -> ServerOptions:
    """Build the options from the values of all options of a command line, e.g. an incomplete one.

    Other options are ignored. Raises InvalidInput as the command would.
    """
    names = inspect.signature(_server_options).parameters
    values = {name: value for name, value in ctx.params.items() if name in names and value is not None}
    return _server_options(**{**values, **changes, "ctx": ctx})
