"""What the tests with a real Docker Engine share."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tfsctl.engines import state_dir

FREE = ("--rest-port", "0", "--grpc-port", "0")


def docker(*arguments: str) -> str:
    """What docker prints."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout.strip()


def containers() -> list[str]:
    """The names of all containers of this test, also of those that ended."""
    ours = ("--filter", "label=tfsctl.server", "--filter", f"label=tfsctl.state={state_dir.base()}")
    return docker("ps", "--all", *ours, "--format", "{{.Names}}").split()


def remove_containers() -> None:
    """Leave no container of a test that failed."""
    for name in containers():
        docker("rm", "--force", name)


def inspect(container: str) -> dict[str, Any]:
    """Everything Docker knows of a container."""
    (found,) = json.loads(docker("inspect", container))
    facts: dict[str, Any] = found
    return facts
