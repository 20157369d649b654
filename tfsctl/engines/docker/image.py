"""The image a container is made of: whether it is here, and how it comes."""

from __future__ import annotations

from tfsctl.engines.docker.errors import said
from tfsctl.engines.planning.launch_spec import DEFAULT_REPOSITORY, ContainerOptions
from tfsctl.errors import DockerError, ProgramFailed
from tfsctl.programs import subprocesses

AMD64 = "linux/amd64"  # what TensorFlow Serving's own images are made for, and nothing else


def provide(options: ContainerOptions) -> None:
    """Have the image here as `options.pull` says; Docker's own progress goes to our stderr. Raises DockerError."""
    image = options.image
    if options.pull != "always" and is_here(image, options.platform if options.pull == "missing" else None):
        return
    if options.pull == "never":
        raise DockerError(
            f"the image {image} is not here, and --pull never forbids to pull it", hint=f"docker pull {image}"
        )
    platform = [] if options.platform is None else ["--platform", options.platform]
    try:
        subprocesses.run_aloud(["docker", "pull", *platform, image])
    except ProgramFailed as error:
        hint = "--image or --tag names another; --engine embedded needs none"
        if is_here(image):
            hint = (
                "--pull missing takes the one that is here"
                if options.pull == "always"
                else f"the one that is here is not made for {options.platform}"
            )
        raise DockerError(f"cannot pull {image}", hint=hint) from error


def is_here(image: str, platform: str | None = None) -> bool:
    """Whether the image need not be pulled: one for another platform than is asked for is another. Raises DockerError."""
    try:
        made_for = subprocesses.run(
            ["docker", "image", "inspect", "--format", "{{.Os}}/{{.Architecture}}", image]
        ).stdout
    except ProgramFailed as error:
        if "no such" in error.stderr.lower() or "image not known" in error.stderr.lower():
            return False
        raise DockerError(f"docker image inspect failed: {said(error)}") from error
    return platform is None or _os_and_processor(platform) == _os_and_processor(made_for.strip())


def _os_and_processor(platform: str) -> tuple[str, str]:
    """`linux/arm64/v8`, `linux/aarch64` and `arm64` are all (linux, arm64)."""
    os, _, processor = (platform if "/" in platform else f"linux/{platform}").lower().partition("/")
    processor = processor.partition("/")[0]
    return os, {"x86_64": "amd64", "aarch64": "arm64"}.get(processor, processor)


def is_stock(image: str) -> bool:
    """Whether it is one of TensorFlow Serving's own."""
    return split(image)[0] in {DEFAULT_REPOSITORY, f"docker.io/{DEFAULT_REPOSITORY}"}


def split(image: str) -> tuple[str, str]:
    """The repository and the tag of an image; the tag is empty if it has none, or a digest instead."""
    name, _, _digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "")


def platform_for(options: ContainerOptions, architecture: str) -> str | None:
    """The `--platform` to run it with: what was asked for, else amd64 for an image that has nothing else."""
    if options.platform is None and architecture != "amd64" and is_stock(options.image):
        return AMD64
    return options.platform
