"""What container is to run, as a value: `docker run`, a Compose file and an image are all written from it.

`container_of` derives it from a Launch, once; nothing else decides what a container may do or see.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tfsctl.engines.planning.launch_spec import Launch, Pull
from tfsctl.engines.registry import state_dir

LABEL = "tfsctl.server"  # on every container we start, with the server's name; only what carries it is ever removed
MODELS_LABEL = "tfsctl.models"  # the names of its models, comma-separated: `ps` lists what no registry entry tells of
STATE_LABEL = "tfsctl.state"  # the state directory: what another one started is not ours to list or stop
GRPC_PORT, REST_PORT = 8500, 8501  # inside the container, where the image's entrypoint puts them
MODELS = "/models"  # the image's MODEL_BASE_PATH
CONFIG = "/etc/tfsctl"  # where the generated files are mounted


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the container published on an address of the host; `host_port` 0 is one that Docker chooses."""

    address: str
    host_port: int
    container_port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.host_port or ''}:{self.container_port}"  # Podman takes no 0


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host, seen read-only inside."""

    source: str
    target: str

    def __str__(self) -> str:
        """As `--mount` wants it: one record of CSV, so a path may hold commas, quotes and ends of lines."""
        record = io.StringIO()
        fields = ["type=bind", f"source={self.source}", f"target={self.target}", "readonly"]
        csv.writer(record, lineterminator="\r\n").writerow(fields)  # a field with either of the two is quoted
        return record.getvalue().removesuffix("\r\n")


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container. `arguments` are TensorFlow Serving's flags, appended to those of the image's entrypoint.

    Hardened unless it says otherwise: a read-only root with a `tmpfs` to write in, no capabilities but `cap_add`, no
    new privileges. `unlabelled` lets it read the mounts where SELinux would not, their labels being the host's.
    `init` runs a process 1 that passes signals on, which the image's entrypoint, a shell, does not.
    A variable of `environment` without a value has the one it has here, which is not written down anywhere.
    `docker_arguments` are passed to `docker run` as they are, after all others.
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
        """The `docker run` that starts it and leaves it running."""
        options: list[tuple[str, object]] = [("--name", self.name)]
        options += [("--pull", None if self.pull == "missing" else self.pull), ("--platform", self.platform)]
        options += [("--user", self.user)]
        options += [("--label", f"{key}={value}") for key, value in self.labels.items()]
        options += [("--publish", port) for port in self.ports]
        options += [("--mount", mount) for mount in self.mounts]
        options += [("--env", key if value is None else f"{key}={value}") for key, value in self.environment.items()]
        options += [("--gpus", self.gpus), ("--memory", self.memory)]
        options += [("--tmpfs", path) for path in self.tmpfs]
        options += [("--cap-drop", capability) for capability in self.cap_drop]
        options += [("--cap-add", capability) for capability in self.cap_add]
        options += [("--security-opt", "no-new-privileges")] if self.no_new_privileges else []
        options += [("--security-opt", "label=disable")] if self.unlabelled else []
        argv = ["docker", "run", "--detach"]
        argv += ["--init"] if self.init else []
        argv += ["--read-only"] if self.read_only else []
        for option, value in options:
            if value is not None:
                argv += [option, str(value)]
        return [*argv, *self.docker_arguments, self.image, *self.arguments]


def container_name(server: str) -> str:
    """The name of a server's container."""
    return f"tfsctl-{server}"


def container_of(launch: Launch, *, files_of: str | None = None) -> ContainerSpec:
    """The container that serves a launch, with its generated files written: the server's own, or those of `files_of`."""
    options, config = launch.container, launch.config
    inside = replace(config, models=tuple(replace(m, base_path=f"{MODELS}/{m.name}") for m in config.models))
    mounts = [Mount(model.base_path, f"{MODELS}/{model.name}") for model in config.models]
    files = inside.files()
    if files:
        mounts.append(Mount(str(state_dir.write_files(files, server=files_of or launch.name)), CONFIG))
    return ContainerSpec(
        name=container_name(launch.name),
        image=options.image,
        labels={
            LABEL: launch.name,
            MODELS_LABEL: ",".join(model.name for model in config.models),
            STATE_LABEL: str(state_dir.base()),
        },
        ports=(
            Port(launch.host, config.grpc_port, GRPC_PORT),
            Port(launch.host, config.rest_port, REST_PORT),
        ),
        mounts=tuple(mounts),
        environment={"MODEL_NAME": config.models[0].name, **dict(launch.environment)},
        arguments=tuple(inside.option_flags(CONFIG)),
        platform=options.platform,
        user=options.user,
        pull=options.pull,
        gpus=options.gpus,
        memory=options.memory,
        read_only=not options.writable_root,
        tmpfs=() if options.writable_root else ("/tmp",),  # noqa: S108 - a directory of the container
        no_new_privileges=not options.new_privileges,
        cap_add=options.cap_add,
        unlabelled=options.unlabelled,
        docker_arguments=options.docker_arguments,
    )
