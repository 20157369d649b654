"""The description of one model server to start, as a value that can be stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from tfsctl.errors import EngineError
from tfsctl.serving_config.serving_config import ServingConfig
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE

EngineName = Literal["docker", "binary", "embedded"]
Pull = Literal["always", "missing", "never"]

# The options of version 0.1, which are always stored.
_ALWAYS_STORED = frozenset(
    {"image", "pull", "platform", "user", "gpus", "memory", "docker_arguments", "writable_root", "new_privileges"}
    | {"cap_add", "unlabelled"}
)
# Options that only a container has -> the flag that sets each.
_CONTAINER_FLAGS = {
    "image": "--image",
    "pull": "--pull",
    "platform": "--platform",
    "gpus": "--gpus",
    "memory": "--memory",
    "cpus": "--cpus",
    "shm_size": "--shm-size",
    "network": "--network",
    "user": "--user",
    "labels": "--label",
    "restart": "--restart",
    "log_max_size": "--log-max-size",
    "docker_arguments": "--docker-arg",
    "writable_root": "--writable-root",
    "new_privileges": "--new-privileges",
    "cap_add": "--cap-add",
}


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """Options of a container. Other engines ignore them.

    - `memory`, `cpus`, `shm_size`, `network`, `gpus` and `restart` are written as for `docker run`.
    - `user` is `uid:gid` (default: the image's user); `labels` are `KEY=VALUE`.
    - `log_max_size` is the size at which Docker starts a new log file. It keeps two.
    - `writable_root`, `new_privileges` and `cap_add` relax the default hardening.
    - `unlabelled` turns SELinux separation off for the container.
    - `start_probes`: the daemon can probe the health more often until the container is healthy.
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
    cpus: str | None = None
    shm_size: str | None = None
    network: str | None = None
    labels: tuple[str, ...] = ()
    restart: str | None = None
    log_max_size: str | None = None
    start_probes: bool = False

    def container_only_flags(self) -> list[str]:
        """The flags that were set and have an effect only for a container."""
        defaults = ContainerOptions()
        return [flag for name, flag in _CONTAINER_FLAGS.items() if getattr(self, name) != getattr(defaults, name)]


@dataclass(frozen=True, slots=True)
class LaunchSpec:
    """One model server to start: its name, what it serves, where it listens, and its environment.

    A variable of `environment` with the value None is copied from the environment of tfsctl. With `front`, Envoy listens
    on the ports, before embedded servers (see `rollout/front`).

    The record of a server keeps this as JSON, which is all that `tfsctl restart` needs. The field names are that
    format: records of running servers have them.
    """

    name: str
    config: ServingConfig
    host: str
    environment: tuple[tuple[str, str | None], ...] = ()
    container: ContainerOptions = ContainerOptions()
    front: bool = False

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values, without unset options that version 0.1 did not have.

        They include the values of --env, so store them where only the owner can read.
        """
        document = asdict(self)
        defaults = asdict(ContainerOptions())
        options = {
            key: value
            for key, value in document["container"].items()
            if key in _ALWAYS_STORED or value != defaults[key]
        }
        document |= {"container": options}
        for model in document["config"]["models"]:
            if model["logging"] is None:
                del model["logging"]
        return document if self.front else {key: value for key, value in document.items() if key != "front"}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> LaunchSpec:
        """Read what `to_document` returned. Options that this version does not know are ignored.

        Raises KeyError, TypeError, ValueError or AttributeError for any other document.
        """
        known = {field.name for field in fields(ContainerOptions)}
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in document["container"].items()
            if key in known
        }
        return cls(
            name=document["name"],
            config=ServingConfig.from_document(document["config"]),
            host=document["host"],
            environment=tuple((name, value) for name, value in document["environment"]),
            container=ContainerOptions(**options),
            front=bool(document.get("front", False)),
        )

    @classmethod
    def of_server(cls, server: str, document: Mapping[str, Any] | None) -> LaunchSpec:
        """Read the document in the record of a server.

        Raises EngineError if it was not recorded, or by another version of tfsctl.
        """
        try:
            return cls.from_document(document or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise EngineError(
                f"the command line of {server} is unknown", hint=f"tfsctl stop {server}, and tfsctl serve PATH again"
            ) from None
