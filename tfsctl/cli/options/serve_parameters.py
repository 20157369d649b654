"""The options of `serve`, `run` and `compose`: models, engine, ports, batching, TLS, Docker.

A command that is decorated with `@takes_serve_options` has them all, and receives them as one value. `image build` has
some of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfsctl.cli.options.option_groups import option_group
from tfsctl.core.types import DEFAULT_GRPC_PORT, DEFAULT_REST_PORT
from tfsctl.engines import launch_spec
from tfsctl.engines.launch_spec import ContainerOptions, EngineName
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.serving_config import TlsFiles
from tfsctl.serving_config.stock_image import DEFAULT_REPOSITORY, DEFAULT_TAG

PathsArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH…", help="The directory of a model, or of one version.")
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=PATH[,versions=…][,labels=…]",
        help="Serve a model under this name, e.g. "
        "a=./a,versions=1,2,labels=stable:1,canary:2. versions also takes `all` and "
        "`latest:N` (default: latest:1). May be repeated.",
    ),
]
ConfigFileOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Serve the models of a TensorFlow Serving model config file."),
]
NameOption = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAME",
        help="The name of the model (default: the name of its directory). With several models, the name of the server.",
    ),
]
EngineOption = Annotated[
    Literal["auto", EngineName],
    typer.Option(
        "--engine",
        envvar="TFSCTL_ENGINE",
        help="The engine that runs the server; auto takes the first that is available.",
    ),
]
ListenAddressOption = Annotated[
    str,
    typer.Option(
        "--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 accepts connections from other machines."
    ),
]
AllInterfacesOption = Annotated[
    bool, typer.Option("--publish-all-interfaces", help="Listen on all addresses, like --host 0.0.0.0.")
]
RestPortOption = Annotated[
    int,
    typer.Option(
        "--rest-port",
        envvar="TFSCTL_REST_PORT",
        metavar="PORT",
        min=0,
        max=65535,
        help="The port for REST; 0 takes a free port.",
    ),
]
GrpcPortOption = Annotated[
    int,
    typer.Option(
        "--grpc-port",
        envvar="TFSCTL_GRPC_PORT",
        metavar="PORT",
        min=0,
        max=65535,
        help="The port for gRPC; 0 takes a free port.",
    ),
]
BatchingOption = Annotated[
    bool,
    typer.Option("--batching", help="Enable batching with TensorFlow Serving's default parameters."),
]
BatchingParametersOption = Annotated[
    list[str] | None,
    typer.Option(
        "--batching-parameter",
        metavar="NAME=VALUE",
        help="Enable batching and set a parameter, e.g. max_batch_size=32. May be repeated.",
    ),
]
BatchingFileOption = Annotated[
    Path | None,
    typer.Option("--batching-file", metavar="FILE", help="Enable batching with the parameters in a file."),
]
MetricsOption = Annotated[bool, typer.Option("--metrics", help="Expose Prometheus metrics, and print their URL.")]
WarmupOption = Annotated[
    bool,
    typer.Option(
        "--warmup/--no-warmup", help="Run a version's warmup requests before it becomes available, or skip them."
    ),
]
SslCertOption = Annotated[
    Path | None,
    typer.Option("--ssl-cert", metavar="FILE", help="Serve gRPC over TLS with this certificate."),
]
SslKeyOption = Annotated[Path | None, typer.Option("--ssl-key", metavar="FILE", help="The private key of --ssl-cert.")]
SslClientCaOption = Annotated[
    Path | None,
    typer.Option("--ssl-client-ca", metavar="FILE", help="Accept only clients with a certificate from this authority."),
]
EnvironmentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        "-e",
        metavar="NAME[=VALUE]",
        help="Set an environment variable of the server (default VALUE: that of this shell). May be repeated.",
    ),
]
ServerFlagsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--server-arg",
        metavar="FLAG",
        help="Pass a flag to TensorFlow Serving, e.g. --server-arg=--max_num_load_retries=0. May be repeated.",
    ),
]
ImageOption = Annotated[
    str | None,
    typer.Option(
        "--image",
        envvar="TFSCTL_IMAGE",
        metavar="NAME",
        help="The image to run (default: tensorflow/serving).",
    ),
]
TagOption = Annotated[
    str | None,
    typer.Option("--tag", metavar="TAG", help="The tag of tensorflow/serving, e.g. 2.19.0-gpu."),
]
PullOption = Annotated[
    launch_spec.Pull,
    typer.Option("--pull", help="When to pull the image."),
]
PlatformOption = Annotated[
    str | None,
    typer.Option("--platform", metavar="OS/ARCH", help="The platform of the image."),
]
GpusOption = Annotated[
    str | None,
    typer.Option(
        "--gpus",
        metavar="GPUS",
        help="Give GPUs to the container, e.g. all. Selects the -gpu image.",
    ),
]
MemoryOption = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="The memory limit of the container, e.g. 2g."),
]
CpusOption = Annotated[
    str | None,
    typer.Option("--cpus", metavar="NUMBER", help="The number of CPUs the container may use, e.g. 1.5."),
]
ShmSizeOption = Annotated[
    str | None,
    typer.Option("--shm-size", metavar="SIZE", help="The size of /dev/shm in the container."),
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME",
        help="Connect the container to this Docker network; `host` uses the host's network.",
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="UID[:GID]",
        help="The user of the server process (default: the current user).",
    ),
]
DockerLabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="KEY=VALUE",
        help="Add a Docker label to the container. May be repeated.",
    ),
]
RestartOption = Annotated[
    str | None,
    typer.Option(
        "--restart",
        metavar="POLICY",
        help="When Docker restarts the container: no, always, unless-stopped or on-failure[:COUNT].",
    ),
]
LogMaxSizeOption = Annotated[
    str | None,
    typer.Option(
        "--log-max-size",
        metavar="SIZE",
        help="The maximum size of a log file, e.g. 50m. Docker keeps the last two files.",
    ),
]
DockerArgumentsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--docker-arg",
        metavar="ARGUMENT",
        help="Pass an argument to docker run, e.g. --docker-arg=--memory-swap=4g. May be repeated.",
    ),
]
WritableRootOption = Annotated[
    bool,
    typer.Option("--writable-root", help="Make the container's root file system writable."),
]
NewPrivilegesOption = Annotated[
    bool,
    typer.Option("--new-privileges", help="Allow the container's processes to gain privileges."),
]
CapAddOption = Annotated[
    list[str] | None,
    typer.Option(
        "--cap-add",
        metavar="CAPABILITY",
        help="Add a Linux capability to the container (default: none). May be repeated.",
    ),
]


def _serve_options(
    paths: PathsArgument = None,
    *,
    models: ModelsOption = None,
    config: ConfigFileOption = None,
    name: NameOption = None,
    engine: EngineOption = "auto",
    host: ListenAddressOption = "127.0.0.1",
    publish_all_interfaces: AllInterfacesOption = False,
    rest_port: RestPortOption = DEFAULT_REST_PORT,
    grpc_port: GrpcPortOption = DEFAULT_GRPC_PORT,
    metrics: MetricsOption = False,
    warmup: WarmupOption = True,
    batching: BatchingOption = False,
    batching_parameters: BatchingParametersOption = None,
    batching_file: BatchingFileOption = None,
    ssl_cert: SslCertOption = None,
    ssl_key: SslKeyOption = None,
    ssl_client_ca: SslClientCaOption = None,
    env: EnvironmentOption = None,
    server_args: ServerFlagsOption = None,
    image: ImageOption = None,
    tag: TagOption = None,
    pull: PullOption = "missing",
    platform: PlatformOption = None,
    gpus: GpusOption = None,
    memory: MemoryOption = None,
    cpus: CpusOption = None,
    shm_size: ShmSizeOption = None,
    network: NetworkOption = None,
    user: UserOption = None,
    labels: DockerLabelsOption = None,
    restart: RestartOption = None,
    log_max_size: LogMaxSizeOption = None,
    docker_args: DockerArgumentsOption = None,
    writable_root: WritableRootOption = False,
    new_privileges: NewPrivilegesOption = False,
    cap_add: CapAddOption = None,
) -> ServeOptions:
    """Build the request from the values of the options. Raises InvalidInput if they cannot be used together."""
    return ServeOptions(
        paths=tuple(paths or ()),
        models=tuple(models or ()),
        config_file=config,
        name=name,
        engine=engine,
        host="0.0.0.0" if publish_all_interfaces else host,  # noqa: S104 - the user asked for it
        rest_port=rest_port,
        grpc_port=grpc_port,
        batching=batching,
        batching_file=batching_file,
        batching_parameters=tuple(batching_parameters or ()),
        metrics=metrics,
        warmup=warmup,
        tls=tls_files(ssl_cert, ssl_key, ssl_client_ca),
        environment=_variables(env),
        server_flags=tuple(server_args or ()),
        container=ContainerOptions(
            image=_image_name(image, tag, gpus),
            pull=pull,
            platform=platform,
            gpus=gpus,
            memory=memory,
            cpus=cpus,
            shm_size=shm_size,
            network=network,
            user=user,
            labels=tuple(labels or ()),
            restart=restart,
            log_max_size=log_max_size,
            docker_arguments=tuple(docker_args or ()),
            writable_root=writable_root,
            new_privileges=new_privileges,
            cap_add=tuple(cap_add or ()),
        ),
    )


takes_serve_options = option_group("request", _serve_options)


def _image_name(image: str | None, tag: str | None, gpus: str | None) -> str:
    """The image to run: `image`, or TensorFlow Serving's with `tag` (default: the pinned tag, `-gpu` with --gpus).

    Raises InvalidInput if both --image and --tag are typed.
    """
    if tag is not None and image == os.environ.get("TFSCTL_IMAGE"):
        image = None  # --tag on the command line wins over the variable
    if image is not None and tag is not None:
        raise InvalidInput(
            "--image and --tag cannot be used together", hint="put the tag into the image's name: --image NAME:TAG"
        )
    if image is not None:
        return image
    return f"{DEFAULT_REPOSITORY}:{tag or DEFAULT_TAG + ('-gpu' if gpus else '')}"


def tls_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """The TLS files; None without a certificate. Raises InvalidInput for a certificate without a key, or a key alone."""
    if certificate is None and key is None:
        if client_ca is not None:
            raise InvalidInput("--ssl-client-ca needs a server certificate", hint="add --ssl-cert FILE --ssl-key FILE")
        return None
    if certificate is None or key is None:
        raise InvalidInput("--ssl-cert and --ssl-key are needed together")
    ca = None if client_ca is None else str(client_ca.absolute())
    return TlsFiles(str(certificate.absolute()), str(key.absolute()), ca)


def _variables(texts: list[str] | None) -> tuple[tuple[str, str | None], ...]:
    """Split `NAME=VALUE`; a lone `NAME` has the value None. Raises InvalidInput if the name is empty."""
    pairs: list[tuple[str, str | None]] = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name:
            raise InvalidInput(f"--env {text} has no variable name", hint="use --env NAME=VALUE")
        pairs.append((name, value if equals else None))
    return tuple(pairs)
