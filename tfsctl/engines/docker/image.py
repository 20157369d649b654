"""The image of a container: whether it is present, pull it, and parse its name."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from tfsctl.engines.docker.docker_errors import docker_error, is_gpu_error, is_missing, reason_of
from tfsctl.engines.launch_spec import ContainerOptions
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses
from tfsctl.serving_config.stock_image import DEFAULT_REPOSITORY

AMD64 = "linux/amd64"  # the only platform of TensorFlow Serving's own images


def ensure_present(options: ContainerOptions) -> None:
    """Pull the image if `options.pull` demands it, with the progress on stderr. Raises DockerError."""
    image = options.image
    if options.pull != "always" and is_present(image, options.platform if options.pull == "missing" else None):
        return
    if options.pull == "never":
        raise DockerError(
            f"the image {image} is not on this machine, and --pull never prevents pulling it",
            hint=f"docker pull {image}",
        )
    platform = [] if options.platform is None else ["--platform", options.platform]
    if options.gpus is not None:
        check_gpus(options.gpus)
    try:
        subprocesses.run_showing_output(["docker", "pull", *platform, image])
    except ProgramFailed as error:
        hint = "--image or --tag chooses another; --engine embedded needs no image"
        if is_present(image):
            hint = (
                "--pull missing uses the local image"
                if options.pull == "always"
                else f"the local image is not built for {options.platform}"
            )
        raise DockerError(f"cannot pull {image}", hint=hint) from error


def check_gpus(gpus: str) -> None:
    """Raise DockerError if Docker cannot give a container GPUs, before a large image is pulled.

    Docker tells only when it starts a container, so an empty image is imported and a program run that it does not have:
    the GPUs are found first.
    """
    with tempfile.TemporaryDirectory(prefix="tfsctl-gpus-") as folder:
        archive = Path(folder, "empty.tar")
        archive.write_bytes(bytes(1024))
        try:
            empty = subprocesses.run(["docker", "import", str(archive)]).stdout.strip()
        except ProgramFailed:  # a failure of this check is not an error
            return
    try:
        subprocesses.run(["docker", "run", "--rm", "--network", "none", "--gpus", gpus, empty, "/none"])
    except ProgramFailed as error:
        if is_gpu_error(error):
            raise docker_error("docker run --gpus", error) from error
    finally:
        with suppress(ProgramFailed):
            subprocesses.run(["docker", "image", "rm", "--force", empty])


def is_present(image: str, platform: str | None = None) -> bool:
    """Whether the image is present, and for this platform if one is given. Raises DockerError."""
    try:
        actual = subprocesses.run(["docker", "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image]).stdout
    except ProgramFailed as error:
        if is_missing(error):
            return False
        raise DockerError(f"docker image inspect failed: {reason_of(error)}") from error
    return platform is None or _parse_platform(platform) == _parse_platform(actual.strip())


def _parse_platform(platform: str) -> tuple[str, str]:
    """Operating system and processor: `linux/arm64/v8`, `linux/aarch64` and `arm64` are all (linux, arm64)."""
    os, _, processor = (platform if "/" in platform else f"linux/{platform}").lower().partition("/")
    processor = processor.partition("/")[0]
    return os, {"x86_64": "amd64", "aarch64": "arm64"}.get(processor, processor)


def is_stock(image: str) -> bool:
    """Whether it is one of TensorFlow Serving's own images."""
    return split_reference(image)[0] in {DEFAULT_REPOSITORY, f"docker.io/{DEFAULT_REPOSITORY}"}


def split_reference(image: str) -> tuple[str, str]:
    """The repository and the tag of an image reference. The tag is empty if there is none."""
    name, _, _digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")


def platform_for(options: ContainerOptions, architecture: str) -> str | None:
    """The value of --platform: the one in `options`, or amd64 for an image that exists for nothing else."""
    if options.platform is None and architecture != "amd64" and is_stock(options.image):
        return AMD64
    return options.platform
