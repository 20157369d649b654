"""The description of a container, from which `docker run`, Compose files and images are written.

`container_spec_for` derives it from a LaunchSpec. No other code decides what a container may do or see.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from tfsctl.engines import state_dir
from tfsctl.engines.docker.health import HealthCheck, health_check
from tfsctl.engines.docker.labels import CERTIFICATE_LABEL, CLIENT_CA_LABEL, LABEL, MODELS_LABEL, STATE_LABEL
from tfsctl.engines.launch_spec import LaunchSpec, Pull
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.model_name import valid_name
from tfsctl.serving_config.serving_config import ServingConfig

GRPC_PORT, REST_PORT = 8500, 8501  # in the container, set by the image's entrypoint
MODELS = "/models"  # the image's MODEL_BASE_PATH
CONFIG = "/etc/tfsctl"  # where the generated files are mounted
PIDS_LIMIT = 4096  # processes and threads; a server with hundreds of CPUs has some two thousand
LOG_FILES = 2  # with --log-max-size: the one being written and the one before it
HOST_NETWORK = "host"


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container, published on an address of the host. For `host_port` 0 Docker chooses one at each start."""

    address: str
    host_port: int
    container_port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.host_port or ''}:{self.container_port}"  # Podman does not accept 0


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host that is mounted read-only."""

    source: str
    target: str

    def __str__(self) -> str:
        """The value of --mount: a CSV record, so paths may contain commas, quotes and line breaks."""
        record = io.StringIO()
        fields = ["type=bind", f"source={self.source}", f"target={self.target}", "readonly"]
        csv.writer(record, lineterminator="\r\n").writerow(fields)  # fields with CR or LF are quoted
        return record.getvalue().removesuffix("\r\n")


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container.

    - `arguments`: TensorFlow Serving's flags, appended to those of the image's entrypoint
    - `environment`: a variable with the value None is copied from our environment and stored nowhere
    - `docker_arguments`: passed to `docker run` unchanged, after all other options
    - `init`: run a process 1 that forwards signals; the image's entrypoint, a shell script, does not
    - `unlabelled`: turn SELinux labels off, so that the container can read the mounts

    The defaults are hardened: a read-only root with a `tmpfs`, no capabilities, no new privileges, a limit on the number
    of processes.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    ports: tuple[Port, ...]
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str | None]
    arguments: tuple[str, ...]
    platform: str | None = None
    user: str | None = None
    gpus: str | None = None
    memory: str | None = None
    cpus: str | None = None
    shm_size: str | None = None
    network: str | None = None
    restart: str | None = None
    log_max_size: str | None = None
    pids_limit: int = PIDS_LIMIT
    health: HealthCheck | None = None
    init: bool = True
    read_only: bool = True
    tmpfs: tuple[str, ...] = ("/tmp",)  # noqa: S108 - a directory of the container
    no_new_privileges: bool = True
    cap_drop: tuple[str, ...] = ("ALL",)
    cap_add: tuple[str, ...] = ()
    unlabelled: bool = False
    pull: Pull = "missing"
    docker_arguments: tuple[str, ...] = ()

    def run_command(self) -> list[str]:
        """The `docker run` command line that starts it in the background."""
        options: list[tuple[str, object]] = [("--name", self.name)]
        options += [("--pull", None if self.pull == "missing" else self.pull), ("--platform", self.platform)]
        options += [("--user", self.user)]
        options += [("--label", f"{key}={value}") for key, value in self.labels.items()]
        options += [("--publish", port) for port in self.ports]
        options += [("--mount", mount) for mount in self.mounts]
        options += [("--env", key if value is None else f"{key}={value}") for key, value in self.environment.items()]
        options += [("--gpus", self.gpus), ("--memory", self.memory), ("--cpus", self.cpus)]
        options += [("--shm-size", self.shm_size), ("--network", self.network), ("--restart", self.restart)]
        options += [("--tmpfs", path) for path in self.tmpfs]
        options += [("--cap-drop", capability) for capability in self.cap_drop]
        options += [("--cap-add", capability) for capability in self.cap_add]
        options += [("--security-opt", "no-new-privileges")] if self.no_new_privileges else []
        options += [("--security-opt", "label=disable")] if self.unlabelled else []
        options += [("--pids-limit", self.pids_limit)]
        options += [("--log-opt", f"{key}={value}") for key, value in self.log_options().items()]
        options += self._health_options()
        argv = ["docker", "run", "--detach"]
        argv += ["--init"] if self.init else []
        argv += ["--read-only"] if self.read_only else []
        for option, value in options:
            if value is not None:
                argv += [option, str(value)]
        return [*argv, *self.docker_arguments, self.image, *self.arguments]

    def log_options(self) -> dict[str, str]:
        """The options of Docker's log driver."""
        return {} if self.log_max_size is None else {"max-size": self.log_max_size, "max-file": str(LOG_FILES)}

    def _health_options(self) -> list[tuple[str, object]]:
        check = self.health
        if check is None:
            return []
        start_interval = None if check.start_interval_s is None else f"{check.start_interval_s}s"
        return [
            ("--health-cmd", check.shell_command),
            ("--health-interval", f"{check.interval_s}s"),
            ("--health-start-interval", start_interval),
            ("--health-start-period", f"{check.start_period_s}s"),
            ("--health-timeout", f"{check.timeout_s}s"),
            ("--health-retries", check.retries),
        ]


def container_name(server: str) -> str:
    """The name of the container of a server."""
    return f"tfsctl-{server}"


def model_folders(models: Sequence[ModelConfig]) -> list[str]:
    """The folder of each model below /models: its name, or another one for a name that is not a safe file name."""
    return [
        model.name if valid_name(model.name) == model.name else f".model-{number}"
        for number, model in enumerate(models, 1)
    ]


def config_inside(config: ServingConfig) -> ServingConfig:
    """The config with the base paths that the models have in the container."""
    folders = model_folders(config.models)
    inside = [
        replace(model, base_path=f"{MODELS}/{folder}") for model, folder in zip(config.models, folders, strict=True)
    ]
    return replace(config, models=tuple(inside))


def container_spec_for(spec: LaunchSpec, *, files_of: str | None = None) -> ContainerSpec:
    """The container of a server. It mounts the config files of the server `files_of` (default: the server itself).

    `state_dir.write_config_files` must write the files of `config_inside(spec.config)` before the container starts.
    """
    options, config = spec.container, spec.config
    is_on_host = options.network == HOST_NETWORK  # Docker publishes no ports there: the server has to listen on them
    rest_port = config.rest_port if is_on_host else REST_PORT
    names = [model.name for model in config.models]
    inside = config_inside(config)
    pairs = zip(config.models, inside.models, strict=True)
    mounts = [Mount(model.base_path, mounted.base_path) for model, mounted in pairs]
    files = inside.files()
    if files:
        mounts.append(Mount(str(state_dir.config_folder(files, server=files_of or spec.name)), CONFIG))
    return ContainerSpec(
        name=container_name(spec.name),
        image=options.image,
        labels=_labels(spec),
        ports=()
        if is_on_host
        else (
            Port(spec.host, config.grpc_port, GRPC_PORT),
            Port(spec.host, config.rest_port, REST_PORT),
        ),
        mounts=tuple(mounts),
        environment={"MODEL_NAME": valid_name(config.models[0].name), **dict(spec.environment)},
        arguments=(
            *((f"--port={config.grpc_port}", f"--rest_api_port={config.rest_port}") if is_on_host else ()),
            *inside.option_flags(CONFIG),
        ),
        platform=options.platform,
        user=options.user,
        pull=options.pull,
        gpus=options.gpus,
        memory=options.memory,
        cpus=options.cpus,
        shm_size=options.shm_size,
        network=options.network,
        restart=options.restart,
        log_max_size=options.log_max_size,
        health=health_check(names, rest_port, start_probes=options.start_probes),
        read_only=not options.writable_root,
        tmpfs=() if options.writable_root else ("/tmp",),  # noqa: S108 - a directory of the container
        no_new_privileges=not options.new_privileges,
        cap_add=options.cap_add,
        unlabelled=options.unlabelled,
        docker_arguments=options.docker_arguments,
    )


def _labels(spec: LaunchSpec) -> dict[str, str]:
    """The labels of the user and of tfsctl."""
    tls = spec.config.tls
    files = {} if tls is None else {CERTIFICATE_LABEL: tls.certificate, CLIENT_CA_LABEL: tls.ca}
    return {
        **dict(label.split("=", 1) for label in spec.container.labels),
        LABEL: spec.name,
        MODELS_LABEL: ",".join(quote(model.name, safe="") for model in spec.config.models),
        STATE_LABEL: str(state_dir.base()),
        **{label: file for label, file in files.items() if file is not None},
    }
