"""Write a Compose file (https://compose-spec.io) that runs the same container as `docker run`."""

from __future__ import annotations

from typing import Any

from tfsctl.core.types import Json
from tfsctl.engines.docker.container_spec import HOST_NETWORK, ContainerSpec
from tfsctl.engines.docker.labels import OWN_LABELS

DEFAULT_RESTART = "unless-stopped"


def document(service: str, spec: ContainerSpec) -> dict[str, Any]:
    """The Compose file as JSON values, with one service that is restarted unless it was stopped.

    It has neither the container's name nor our labels, because Compose manages the container, not tfsctl.
    """
    check, is_on_host = spec.health, spec.network == HOST_NETWORK
    facts: dict[str, Any] = {
        "image": spec.image,
        "pull_policy": None if spec.pull == "missing" else spec.pull,
        "platform": spec.platform,
        "user": spec.user,
        "command": list(spec.arguments),
        "environment": dict(spec.environment),
        "labels": {key: value for key, value in spec.labels.items() if not key.startswith(OWN_LABELS)},
        "network_mode": spec.network if is_on_host else None,
        "networks": None if spec.network is None or is_on_host else [spec.network],
        "ports": [str(port) for port in spec.ports],
        "volumes": [
            {"type": "bind", "source": mount.source, "target": mount.target, "read_only": True} for mount in spec.mounts
        ],
        "init": spec.init,
        "read_only": spec.read_only,
        "tmpfs": list(spec.tmpfs),
        "cap_drop": list(spec.cap_drop),
        "cap_add": list(spec.cap_add),
        "security_opt": [
            *(["no-new-privileges:true"] if spec.no_new_privileges else []),
            *(["label:disable"] if spec.unlabelled else []),
        ],
        "mem_limit": spec.memory,
        "cpus": None if spec.cpus is None else float(spec.cpus),
        "shm_size": spec.shm_size,
        "pids_limit": spec.pids_limit,
        "logging": {"options": spec.log_options()} if spec.log_options() else None,
        "deploy": None if spec.gpus is None else _gpus(spec.gpus),
        "healthcheck": None
        if check is None
        else {
            "test": ["CMD", *check.command],
            "interval": f"{check.interval_s}s",
            "timeout": f"{check.timeout_s}s",
            "start_period": f"{check.start_period_s}s",
            "retries": check.retries,
        },
        "restart": spec.restart or DEFAULT_RESTART,
    }
    compose: dict[str, Any] = {"services": {service: _escaped({key: value for key, value in facts.items() if value})}}
    if facts["networks"]:
        compose["networks"] = {spec.network: {"external": True}}  # it was made before, as for `docker run`
    return compose


def text(compose: dict[str, Any]) -> str:
    """The document as YAML in block style."""
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes text of several lines as a literal block."""

        def represent_str(self, data: str) -> yaml.ScalarNode:
            """The node of a string."""
            return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Dumper.add_representer(str, Dumper.represent_str)
    return yaml.dump(compose, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def _gpus(gpus: str) -> dict[str, Any]:
    """The device reservation for a value of --gpus (`all`, a number, or `device=0,2`)."""
    device: dict[str, Any] = {"driver": "nvidia", "capabilities": ["gpu"]}
    key, _, ids = gpus.strip('"').partition("=")
    if key == "device":
        device["device_ids"] = ids.split(",")
    else:
        device["count"] = int(gpus) if gpus.isdecimal() else "all"
    return {"resources": {"reservations": {"devices": [device]}}}


def _escaped(value: Json) -> Json:
    """The value with each `$` doubled, because Compose replaces `$NAME` by a variable."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    return value
