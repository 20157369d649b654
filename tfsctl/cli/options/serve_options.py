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

_MODELS, _BATCHING, _TLS, _DOCKER = "Models", "Batching", "TLS", "Docker"

Paths = Annotated[list[Path] | None, typer.Argument(metavar="PATH…", help="A model's directory, or one version of it.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME=PATH[,versions=…][,labels=…]",
        help="A model under a name of its own, e.g. review=./amazon_review,versions=1,2,labels=stable:1,canary:2. "
        "versions=all and versions=latest:2 are choices too. Repeatable.",
        rich_help_panel=_MODELS,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The models of a --model_config_file of TensorFlow Serving.",
        rich_help_panel=_MODELS,
    ),
]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NAME", help="The model's name, else its directory's; of several, the server's."),
]
Engine = Annotated[
    Literal["auto", EngineName],
    typer.Option("--engine", envvar="TFSCTL_ENGINE", help="What runs the server; auto takes the first there is."),
]
Host = Annotated[
    str,
    typer.Option("--host", metavar="ADDRESS", help="The address to listen on; 0.0.0.0 opens it to other machines."),
]
AllInterfaces = Annotated[
    bool, typer.Option("--publish-all-interfaces", help="Listen on all addresses, as --host 0.0.0.0 does.")
]
RestPort = Annotated[
    int,
    typer.Option("--rest-port", envvar="TFSCTL_REST_PORT", metavar="PORT", min=0, max=65535, help="0: a free one."),
]
GrpcPort = Annotated[
    int,
    typer.Option("--grpc-port", envvar="TFSCTL_GRPC_PORT", metavar="PORT", min=0, max=65535, help="0: a free one."),
]
Batching = Annotated[
    bool,
    typer.Option("--batching", help="TensorFlow Serving's batching, with its defaults.", rich_help_panel=_BATCHING),
]
BatchingParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--batching-parameter",
        metavar="NAME=VALUE",
        help="Batching with this parameter, e.g. max_batch_size=32. Repeatable.",
        rich_help_panel=_BATCHING,
    ),
]
BatchingFile = Annotated[
    Path | None,
    typer.Option(
        "--batching-file", metavar="FILE", help="Batching with the parameters of a file.", rich_help_panel=_BATCHING
    ),
]
Metrics = Annotated[bool, typer.Option("--metrics", help="Let Prometheus scrape it, and say where.")]
Warmup = Annotated[
    bool, typer.Option("--warmup/--no-warmup", help="Whether versions are warmed up with the requests beside them.")
]
Certificate = Annotated[
    Path | None,
    typer.Option("--ssl-cert", metavar="FILE", help="gRPC over TLS with this certificate.", rich_help_panel=_TLS),
]
Key = Annotated[
    Path | None, typer.Option("--ssl-key", metavar="FILE", help="The key of --ssl-cert.", rich_help_panel=_TLS)
]
ClientCa = Annotated[
    Path | None,
    typer.Option(
        "--ssl-client-ca",
        metavar="FILE",
        help="Only clients with a certificate of this authority.",
        rich_help_panel=_TLS,
    ),
]
Environment = Annotated[
    list[str] | None,
    typer.Option(
        "--env", "-e", metavar="NAME[=VALUE]", help="A variable for the server; without VALUE, ours. Repeatable."
    ),
]
ServerFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--server-arg",
        metavar="FLAG",
        help="A flag of TensorFlow Serving, e.g. --server-arg=--max_num_load_retries=0. Repeatable.",
    ),
]
Image = Annotated[
    str | None,
    typer.Option("--image", envvar="TFSCTL_IMAGE", metavar="NAME", help="The image.", rich_help_panel=_DOCKER),
]
Tag = Annotated[
    str | None,
    typer.Option(
        "--tag", metavar="TAG", help="The tag of tensorflow/serving, e.g. 2.19.0-gpu.", rich_help_panel=_DOCKER
    ),
]
Pull = Annotated[
    launch_spec.Pull,
    typer.Option("--pull", help="When the image is pulled.", rich_help_panel=_DOCKER),
]
Platform = Annotated[
    str | None,
    typer.Option("--platform", metavar="OS/ARCH", help="The platform of the image.", rich_help_panel=_DOCKER),
]
Gpus = Annotated[
    str | None,
    typer.Option("--gpus", metavar="GPUS", help="GPUs, e.g. all; takes the -gpu image.", rich_help_panel=_DOCKER),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="The most memory it may take, e.g. 2g.", rich_help_panel=_DOCKER),
]
Cpus = Annotated[
    str | None,
    typer.Option("--cpus", metavar="NUMBER", help="How many CPUs it may use, e.g. 1.5.", rich_help_panel=_DOCKER),
]
ShmSize = Annotated[
    str | None,
    typer.Option("--shm-size", metavar="SIZE", help="The size of its shared memory.", rich_help_panel=_DOCKER),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network", metavar="NAME", help="The Docker network, or host for this machine's.", rich_help_panel=_DOCKER
    ),
]
User = Annotated[
    str | None,
    typer.Option("--user", metavar="UID[:GID]", help="The user it runs as (default: you).", rich_help_panel=_DOCKER),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="A label of the container. Repeatable.", rich_help_panel=_DOCKER),
]
Restart = Annotated[
    str | None,
    typer.Option(
        "--restart",
        metavar="POLICY",
        help="When Docker restarts it: no, always, unless-stopped, on-failure[:COUNT].",
        rich_help_panel=_DOCKER,
    ),
]
LogMaxSize = Annotated[
    str | None,
    typer.Option(
        "--log-max-size",
        metavar="SIZE",
        help="The size of a log file, e.g. 50m. Docker keeps the last two.",
        rich_help_panel=_DOCKER,
    ),
]
DockerArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--docker-arg",
        metavar="ARGUMENT",
        help="Passed to docker run, e.g. --docker-arg=--memory-swap=4g. Repeatable.",
        rich_help_panel=_DOCKER,
    ),
]
WritableRoot = Annotated[
    bool, typer.Option("--writable-root", help="Let the container write to its files.", rich_help_panel=_DOCKER)
]
NewPrivileges = Annotated[
    bool, typer.Option("--new-privileges", help="Let its programs gain privileges.", rich_help_panel=_DOCKER)
]
CapAdd = Annotated[
    list[str] | None,
    typer.Option(
        "--cap-add",
        metavar="CAPABILITY",
        help="A capability it keeps; it has none otherwise. Repeatable.",
        rich_help_panel=_DOCKER,
    ),
]


def _serve_options(
    paths: Paths = None,
    *,
    models: Models = None,
    config: ConfigFile = None,
    name: Name = None,
    engine: Engine = "auto",
    host: Host = "127.0.0.1",
    publish_all_interfaces: AllInterfaces = False,
    rest_port: RestPort = DEFAULT_REST_PORT,
    grpc_port: GrpcPort = DEFAULT_GRPC_PORT,
    metrics: Metrics = False,
    warmup: Warmup = True,
    batching: Batching = False,
    batching_parameters: BatchingParameters = None,
    batching_file: BatchingFile = None,
    ssl_cert: Certificate = None,
    ssl_key: Key = None,
    ssl_client_ca: ClientCa = None,
    env: Environment = None,
    server_args: ServerFlags = None,
    image: Image = None,
    tag: Tag = None,
    pull: Pull = "missing",
    platform: Platform = None,
    gpus: Gpus = None,
    memory: Memory = None,
    cpus: Cpus = None,
    shm_size: ShmSize = None,
    network: Network = None,
    user: User = None,
    labels: Labels = None,
    restart: Restart = None,
    log_max_size: LogMaxSize = None,
    docker_args: DockerArguments = None,
    writable_root: WritableRoot = False,
    new_privileges: NewPrivileges = False,
    cap_add: CapAdd = None,
) -> ServeOptions:
    """Build the request from the values of the options. Raises InvalidInput if they contradict each other."""
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
        raise InvalidInput("--image and --tag contradict each other", hint=f"--image {image} alone: it has a tag")
    if image is not None:
        return image
    return f"{DEFAULT_REPOSITORY}:{tag or DEFAULT_TAG + ('-gpu' if gpus else '')}"


def tls_files(certificate: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """The TLS files; None without a certificate. Raises InvalidInput for a certificate without a key, or a key alone."""
    if certificate is None and key is None:
        if client_ca is not None:
            raise InvalidInput("--ssl-client-ca needs a certificate too", hint="--ssl-cert FILE --ssl-key FILE")
        return None
    if certificate is None or key is None:
        raise InvalidInput("--ssl-cert and --ssl-key belong together")
    ca = None if client_ca is None else str(client_ca.absolute())
    return TlsFiles(str(certificate.absolute()), str(key.absolute()), ca)


def _variables(texts: list[str] | None) -> tuple[tuple[str, str | None], ...]:
    """Split `NAME=VALUE`; a lone `NAME` has the value None. Raises InvalidInput if the name is empty."""
    pairs: list[tuple[str, str | None]] = []
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name:
            raise InvalidInput(f"--env {text} names no variable", hint="--env NAME=VALUE")
        pairs.append((name, value if equals else None))
    return tuple(pairs)
