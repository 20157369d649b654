"""Build an image: write the build context and run `docker build`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfsctl.core.model_dir import copy_directory
from tfsctl.engines.docker import daemon as docker_daemon
from tfsctl.engines.docker.container import docker
from tfsctl.engines.docker.serving_image import ImageSpec
from tfsctl.errors import DockerError, EngineError, InvalidInput, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.programs.signals import raise_on_termination

QUIET_TIMEOUT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image in Docker's store."""

    id: str
    size_bytes: int


def build(spec: ImageSpec, *, pull: bool = False, quiet: bool = False) -> BuiltImage:
    """Build the image with `docker build`, with the progress on stderr, or with `quiet` only if the build fails.

    Raises DockerError, and KeyboardInterrupt on SIGTERM and SIGHUP. The build context is removed in any case.
    """
    daemon = docker_daemon.find()
    options = [*(["--platform", spec.platform] if spec.platform else []), *(["--pull"] if pull else [])]
    options += ["--format", "docker"] if daemon.podman else []  # Podman's own format has no health check
    with raise_on_termination(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="tfsctl-image-") as folder:
        _write_context(spec, Path(folder))
        try:
            _run(["docker", "build", "--tag", spec.tag, *options, folder], quiet=quiet)
        except ProgramFailed as error:
            raise DockerError(
                f"docker build failed with status {error.returncode}; its output is above",
                hint="--print-dockerfile prints the Dockerfile",
            ) from error
    identity, size = docker("image", "inspect", "--format", "{{.Id}} {{.Size}}", spec.tag).split()
    return BuiltImage(identity, int(size))


def push(tag: str, *, quiet: bool = False) -> None:
    """Push an image to the registry in its name. Raises DockerError."""
    try:
        _run(["docker", "push", tag], quiet=quiet)
    except ProgramFailed as error:
        registry = tag.partition("/")[0]
        login = f"docker login {registry}" if "." in registry or ":" in registry else "docker login"
        raise DockerError(
            f"cannot push {tag}; docker's output is above", hint=f"{login}, if the registry denied access"
        ) from error


def _run(argv: list[str], *, quiet: bool) -> None:
    """Run docker with its output on our stderr, or with `quiet` only if it fails. Raises ProgramFailed."""
    if not quiet:
        subprocesses.run_showing_output(argv)
        return
    try:
        subprocesses.run(argv, timeout_s=QUIET_TIMEOUT_S)
    except ProgramFailed as error:
        sys.stderr.write(error.stdout + error.stderr)
        raise


def write_context(spec: ImageSpec, folder: Path) -> None:
    """Write the build context to a new or empty folder, for `docker build` elsewhere. Raises TfsctlError."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidInput(f"{folder} exists and is not an empty directory", hint="--output NEW_DIRECTORY")
        folder.mkdir(parents=True, exist_ok=True)
        _write_context(spec, folder)
    except OSError as error:
        raise EngineError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _write_context(spec: ImageSpec, context: Path) -> None:
    """Write models, files and the Dockerfile, readable by all: in the image root owns them, and the server is not root."""
    for place, source in spec.folders.items():
        copy_directory(source, context / place, copy_file=shutil.copyfile)
    for place, text in spec.files.items():
        (context / place).parent.mkdir(exist_ok=True)
        (context / place).write_text(text, encoding="utf-8")
    (context / "Dockerfile").write_text(spec.dockerfile(), encoding="utf-8")
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
