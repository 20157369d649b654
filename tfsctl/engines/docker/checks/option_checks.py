"""Check the container options of a command line before Docker is called: sizes, names, image references, GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tfsctl.engines.docker.labels import OWN_LABELS
from tfsctl.engines.launch_spec import ContainerOptions
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE

MIN_MEMORY_BYTES = 6 * 2**20  # Docker's own limit
# Docker's grammar of sizes: github.com/docker/go-units.
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])?i?b?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
# The grammar of image references: github.com/distribution/reference.
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_TAG = r"\w[\w.-]{0,127}"
_NAME = re.compile(rf"(?:{_HOST}(?::\d+)?/)?{_PART}(?:/{_PART})*", re.ASCII)
_NAME_AND_TAG = re.compile(rf"{_NAME.pattern}(?::{_TAG})?", re.ASCII)
_REFERENCE = re.compile(
    rf"{_NAME_AND_TAG.pattern}(?:@[a-zA-Z][\w+.-]*:[0-9a-fA-F]{{32,}})?|sha256:[0-9a-f]{{64}}", re.ASCII
)
_GPU_KEYS = {"count", "device", "driver", "capabilities", "options"}


def check_options(options: ContainerOptions) -> None:
    """Raise InvalidInput for the first option that Docker would refuse."""
    check_reference(options.image)
    checks: tuple[tuple[str, str | None, Callable[[str], bool], str], ...] = (
        (
            "--memory",
            options.memory,
            lambda text: size_bytes(text) >= MIN_MEMORY_BYTES,
            "a size of at least 6m, such as 2g",
        ),
        ("--shm-size", options.shm_size, lambda text: size_bytes(text) > 0, "a size, such as 256m"),
        ("--log-max-size", options.log_max_size, lambda text: size_bytes(text) > 0, "a size, such as 50m"),
        ("--cpus", options.cpus, _is_positive_number, "a positive number, such as 1.5"),
        ("--user", options.user, _matcher(r"\d{1,10}(:\d{1,10})?"), "UID or UID:GID in numbers, such as 1000:1000"),
        (
            "--platform",
            options.platform,
            _matcher(r"[a-z0-9]+(/[a-z0-9_]+(/[a-z0-9.]+)?)?"),
            "OS/ARCH, such as linux/amd64",
        ),
        ("--gpus", options.gpus, _is_gpu_request, "all, a number or device=ID, such as device=0"),
        (
            "--restart",
            options.restart,
            _matcher(r"no|always|unless-stopped|on-failure(:[1-9]\d{0,8})?"),
            "no, always, unless-stopped, on-failure or on-failure:COUNT",
        ),
    )
    for option, value, is_valid, form in checks:
        if value is not None and not is_valid(value):
            raise InvalidInput(f"{option} {value!r} is not {form}", hint=f"{option} {form.rpartition(' ')[2]}")
    for capability in options.cap_add:
        if not re.fullmatch(r"[A-Za-z_]+", capability):
            raise InvalidInput(f"--cap-add {capability!r} is not a capability", hint="--cap-add SYS_NICE")
    check_labels(options.labels)
    if options.network is not None:
        _check_network(options.network)


def check_reference(image: str) -> None:
    """Raise InvalidInput unless the text is a reference to an image: NAME, NAME:TAG or NAME@DIGEST."""
    if not _REFERENCE.fullmatch(image):
        raise InvalidInput(
            f"{image!r} is not an image reference{_reference_problem(image)}", hint=_closest(image, DEFAULT_IMAGE)
        )


def check_name_and_tag(image: str, *, example: str) -> None:
    """Raise InvalidInput unless the text can name a new image: NAME or NAME:TAG."""
    if not _NAME_AND_TAG.fullmatch(image):
        raise InvalidInput(
            f"--tag {image!r} is not NAME:TAG{_reference_problem(image)}", hint=f"--tag {_closest(image, example)}"
        )


def check_labels(labels: Iterable[str]) -> None:
    """Raise InvalidInput for a label of a container or image that is not KEY=VALUE, or that tfsctl sets itself."""
    for label in labels:
        _check_label(label)


def _reference_problem(image: str) -> str:
    if image != image.lower() and _REFERENCE.fullmatch(image.lower()):
        return ": names of images are in lower case"
    return ""


def _closest(image: str, example: str) -> str:
    """The reference in lower case if that is valid; otherwise an example."""
    return image.lower() if _NAME_AND_TAG.fullmatch(image.lower()) else example


def size_bytes(text: str) -> int:
    """The bytes of a size as Docker reads it, such as `2g` or `512MiB`; 0 if it is not a size."""
    match = _SIZE.fullmatch(text)
    size = 0.0 if match is None else float(match[1]) * 1024 ** _POWERS[(match[2] or "").lower()]
    return int(size) if size < float("inf") else 0


def _is_positive_number(text: str) -> bool:
    return re.fullmatch(r"\d{1,6}(\.\d{1,9})?", text) is not None and float(text) > 0


def _is_gpu_request(text: str) -> bool:
    if text == "all" or re.fullmatch(r"[1-9]\d{0,3}", text):
        return True
    key, equals, value = text.strip('"').partition("=")
    return bool(equals and value) and key in _GPU_KEYS


def _matcher(pattern: str) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(pattern, text, re.ASCII) is not None


def _check_label(label: str) -> None:
    key, equals, _ = label.partition("=")
    if not equals or not key or key != key.strip():
        raise InvalidInput(f"--label {label!r} is not KEY=VALUE", hint="--label team=search")
    if key.startswith(OWN_LABELS):
        raise InvalidInput(
            f"--label {key}: labels that begin with {OWN_LABELS} are set by tfsctl", hint="--label team=search"
        )


def _check_network(network: str) -> None:
    """Refuse a network that Docker cannot publish ports of."""
    if network == "none" or network.startswith("container:"):
        raise InvalidInput(
            f"Docker does not publish ports for --network {network}, so clients could not connect",
            hint="remove --network, or use a network of `docker network ls` with DRIVER bridge",
        )
    if not re.fullmatch(r"[a-zA-Z0-9][\w.-]*", network, re.ASCII):
        raise InvalidInput(f"--network {network!r} is not the name of a network", hint="docker network ls lists them")
