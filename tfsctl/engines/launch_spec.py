"""What an engine is asked to start, and what it gives back: the values and the protocols around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tfsctl.serving_config.serving_config import ServingConfig

if TYPE_CHECKING:
    from tfsctl.engines.planning.preflight import Found

EngineName = Literal["docker", "binary", "embedded"]
Pull = Literal["always", "missing", "never"]
DEFAULT_REPOSITORY, DEFAULT_TAG = "tensorflow/serving", "2.20.0"
DEFAULT_IMAGE = f"{DEFAULT_REPOSITORY}:{DEFAULT_TAG}"
LAST_LINES = 200  # how much of a server's log is looked at for why it ended


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What is asked of a container besides serving; the other engines have no use for it.

    `memory` and `gpus` are as `docker run` takes them, `user` is `uid:gid`, else the image's. `writable_root`,
    `new_privileges` and `cap_add` open what is closed by default; `unlabelled` is for a daemon with SELinux.
    """

    image: str = DEFAULT_IMAGE
    pull: Pull = "missing"
    platform: str | None = None
    user: str | None = None
    gpus: str | None = None
    memory: str | None = None
    docker_arguments: tuple[str, ...] = ()
    writable_root: bool = False
    new_privileges: bool = False
    cap_add: tuple[str, ...] = ()
    unlabelled: bool = False

    def asked_for(self) -> list[str]:
        """The options, as they are typed, that mean something to a container only and were asked for."""
        usual = ContainerOptions()
        names = ("platform", "gpus", "memory", "docker_arguments", "writable_root", "new_privileges", "cap_add")
        given = [name for name in names if getattr(self, name) != getattr(usual, name)]
        return [f"--{name.replace('_', '-').replace('docker-arguments', 'docker-arg')}" for name in given]


@dataclass(frozen=True, slots=True)
class Launch:
    """One model server to start: its name, what it serves, the address to listen on, variables for its environment.

    A variable without a value (None) has the one it has here. It is all that starting the same server again needs: `to_document` makes JSON of it, which the registry keeps with
    the server's entry (`registry.register(entry, launch=launch.to_document())`), and `from_document` reads that.
    """

    name: str
    config: ServingConfig
    host: str
    environment: tuple[tuple[str, str | None], ...] = ()
    container: ContainerOptions = ContainerOptions()

    def to_document(self) -> dict[str, Any]:
        """The launch as JSON knows values. It holds what --env was given: keep it where only its owner reads."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Launch:
        """The launch `to_document` was made from. Raises KeyError or TypeError for what is none."""
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document["container"].items()
        }
        return cls(
            name=document["name"],
            config=ServingConfig.from_document(document["config"]),
            host=document["host"],
            environment=tuple((name, value) for name, value in document["environment"]),
            container=ContainerOptions(**options),
        )


class Started(Protocol):
    """A server this process started."""

    @property
    def pid(self) -> int | None:
        """Its process; None for a container."""

    @property
    def container(self) -> str | None:
        """The id of its container; None for a process."""

    @property
    def log_path(self) -> str | None:
        """Where its log goes; None for Docker."""

    @property
    def rest_port(self) -> int:
        """The port its REST API was given."""

    @property
    def grpc_port(self) -> int:
        """The port gRPC was given."""

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""

    def cause(self) -> str:
        """Why it ended, if whoever runs it knows better than its log; else nothing."""

    def last_lines(self) -> Sequence[str]:
        """The end of its log."""

    def follow(self, show: Callable[[str], None]) -> None:
        """Show each line of its log, from the first one on, until it is stopped."""

    def stop(self) -> None:
        """End it and leave nothing of it behind. Returns when it is gone and its log is shown."""

    def leave_running(self) -> None:
        """Let it outlive this process."""


class Engine(Protocol):
    """A way to start a model server; each module of this package named after one is one."""

    def check(self) -> str:
        """Say what it would use, e.g. a daemon's version. Raises the error that says why it cannot be used."""

    def fit(self, launch: Launch, founds: Sequence[Found]) -> tuple[Launch, list[str]]:
        """The launch with what depends on this machine, and notes on what may surprise. Raises nothing."""

    def prepare(self, launch: Launch, founds: Sequence[Found]) -> None:
        """Check, and have at hand, all that starting needs. Raises the error that says why it cannot be started."""

    def command(self, launch: Launch) -> list[str]:
        """The command line `start` runs; works when pasted into a shell."""

    def start(self, launch: Launch, *, detach: bool) -> Started:
        """Start the server and return without waiting for it."""
