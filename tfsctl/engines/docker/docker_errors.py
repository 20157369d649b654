"""Turn the error output of docker into a DockerError of one line, with a hint if the cause is known."""

from __future__ import annotations

import re

from tfsctl.errors import DockerError, ProgramFailed

_PORT_CONFLICT = r"port is already allocated|address already in use|ports are not available"
_GPU_ERROR = r"could not select device driver|nvidia-container-cli|unresolvable cdi devices"
# Pattern of an error of Docker Engine, Docker Desktop or Podman -> cause, hint.
_KNOWN = (
    (
        r"cannot connect to the docker daemon|is the docker daemon running",
        "the Docker daemon does not respond",
        "start it (for example `sudo systemctl start docker`), then check with: tfsctl ps",
    ),
    (
        _PORT_CONFLICT,
        "a port is in use by another program or container",
        "--rest-port 0 --grpc-port 0 take free ports",
    ),
    (
        r"bind source path does not exist|mounts denied|is not shared from the host|statfs .*no such file",
        "Docker cannot see that directory: its daemon is on another machine, or is not allowed to share it",
        "tfsctl image build puts the model into an image",
    ),
    (
        _GPU_ERROR,
        "Docker has no driver for GPUs",
        "install the NVIDIA Container Toolkit, or remove --gpus",
    ),
    (
        r"container-init binary not found|catatonit",
        "Podman lacks its init program",
        "install the package catatonit",
    ),
    (
        r"exec format error|no matching manifest|does not match the (specified|detected host) platform",
        "the image is built for another processor",
        "--platform linux/amd64 emulates one; --engine embedded needs no image",
    ),
    (
        r"Minimum memory limit allowed|invalid size|invalid argument .* for \"-m, --memory\"",
        "Docker does not accept that memory limit",
        "use a size such as --memory 2g",
    ),
)

_MISSING = re.compile(r"no such (object|container|image|network)|image not known|network \S+ not found", re.IGNORECASE)
_USAGE_LINES = ("Usage:", "See 'docker", "Run 'docker", "Emulate Docker CLI")  # how lines begin that give no reason


def is_missing(error: ProgramFailed) -> bool:
    """Whether docker failed because the container, image or network does not exist."""
    return _MISSING.search(error.stderr) is not None


def is_port_conflict(error: ProgramFailed) -> bool:
    """Whether docker failed because another program or container uses a port."""
    return re.search(_PORT_CONFLICT, error.stderr, re.IGNORECASE) is not None


def is_gpu_error(error: ProgramFailed) -> bool:
    """Whether docker failed because it has no driver for GPUs."""
    return re.search(_GPU_ERROR, error.stderr, re.IGNORECASE) is not None


def docker_error(action: str, error: ProgramFailed) -> DockerError:
    """The error for a docker command that failed. `action` names it, such as `docker run`."""
    reason = reason_of(error)
    for pattern, cause, hint in _KNOWN:
        if re.search(pattern, error.stderr, re.IGNORECASE):
            return DockerError(f"{action} failed: {cause} ({reason})", hint=hint)
    return DockerError(f"{action} failed: {reason}")


def reason_of(error: ProgramFailed) -> str:
    """The line of docker's error output that gives the reason."""
    lines = [line.strip() for line in error.stderr.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(_USAGE_LINES)]
    last = lines[-1] if lines else f"status {error.returncode}"
    line = next((line for line in lines if "rror" in line or "annot" in line), last)
    return (
        line.removeprefix("docker: ").removeprefix("Error response from daemon: ").removeprefix("Error: ").rstrip(".")
    )
