"""Build an image: write the build context and run `docker build`."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker.container import docker
from tfsctl.engines.docker.serving_image import ImageSpec
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.signals import raise_on_termination


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in Docker's store."""

    id: str
    size_bytes: int


def build(spec: ImageSpec, *, pull: bool = False) -> BuiltImage:
    """Build the image with `docker build`, with the progress on stderr.

    Raises DockerError, and KeyboardInterrupt on SIGTERM and SIGHUP. The build context is removed in any case.
    """
    daemon = docker_daemon.find()
    options = [*(["--platform", spec.platform] if spec.platform else []), *(["--pull"] if pull else [])]
    options += ["--format", "docker"] if daemon.podman else []  # Podman's own format has no health check
    with raise_on_termination(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="tfsctl-image-") as folder:
        _write_context(spec, Path(folder))
        try:
            subprocesses.run_showing_output(["docker", "build", "--tag", spec.tag, *options, folder])
        except ProgramFailed as error:
            raise DockerError(
                f"docker build failed with status {error.returncode}; its own words are above",
                hint="--print-dockerfile shows what was built",
            ) from error
    identity, size = docker("image", "inspect", "--format", "{{.Id}} {{.Size}}", spec.tag).split()
    return BuiltImage(identity, int(size))


def _write_context(spec: ImageSpec, context: Path) -> None:
    """Write models, files and the Dockerfile, readable by all: in the image root owns them, and the server is not root."""
    for place, source in spec.folders.items():
        shutil.copytree(source, context / place, copy_function=shutil.copyfile)
    for place, text in spec.files.items():
        (context / place).parent.mkdir(exist_ok=True)
        (context / place).write_text(text, encoding="utf-8")
    (context / "Dockerfile").write_text(spec.dockerfile(), encoding="utf-8")
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
