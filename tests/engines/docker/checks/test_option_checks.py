"""Container options are checked before Docker is called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tfsctl.engines.docker.checks import option_checks
from tfsctl.engines.launch_spec import ContainerOptions
from tfsctl.errors import InvalidInput

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "image",
    [
        "tensorflow/serving",
        "tensorflow/serving:2.20.0-gpu",
        "localhost:5000/a/b_c:1",
        "Registry.Example.com:443/team/serving:V_1.0",
        "[::1]:5000/a:1",
        f"a/b:1@{DIGEST}",
        f"a@{DIGEST}",
        DIGEST,
        "0123456789ab",
        "a--b/c__d/e.f",
    ],
)
def test_image_references_are_accepted(image: str) -> None:
    """Hosts, ports, tags, digests and image ids."""
    option_checks.check_reference(image)


@pytest.mark.parametrize(
    ("image", "hint"),
    [
        ("", "tensorflow/serving:2.20.0"),
        ("a b", "tensorflow/serving:2.20.0"),
        ("tensorflow/serving:", "tensorflow/serving:2.20.0"),
        ("tensorflow/serving:-1", "tensorflow/serving:2.20.0"),
        ("a:b:c", "tensorflow/serving:2.20.0"),
        ("a/b:1\n", "tensorflow/serving:2.20.0"),
        ("--privileged", "tensorflow/serving:2.20.0"),
        (f"a:{'x' * 129}", "tensorflow/serving:2.20.0"),
        ("a@sha256:12", "tensorflow/serving:2.20.0"),
        ("Größe", "tensorflow/serving:2.20.0"),
        ("tensorflow/Serving:2.20.0", "tensorflow/serving:2.20.0"),
        ("MyTeam/Review", "myteam/review"),
    ],
)
def test_other_image_references_are_refused(image: str, hint: str) -> None:
    """The hint has a reference that is valid: the same in lower case, if that is all."""
    with pytest.raises(InvalidInput, match="is not an image reference") as refused:
        option_checks.check_reference(image)
    assert refused.value.hint == hint
    option_checks.check_reference(hint)


@pytest.mark.parametrize("tag", ["review:3", "registry.example.com:5000/team/review:v3", "review"])
def test_names_for_new_images(tag: str) -> None:
    """A digest cannot be chosen."""
    option_checks.check_name_and_tag(tag, example="echo:1")
    with pytest.raises(InvalidInput, match="is not NAME:TAG") as refused:
        option_checks.check_name_and_tag(f"{tag}@{DIGEST}", example="echo:1")
    assert refused.value.hint == "--tag echo:1"


@pytest.mark.parametrize(
    ("text", "size"),
    [("2g", 2 * 2**30), ("512MiB", 512 * 2**20), ("1.5G", 3 * 2**29), ("100 mb", 100 * 2**20), ("7", 7), ("8b", 8)]
    + [(text, 0) for text in ("", "g", "-1g", "2x", "two", "1,5g", "1e9", "2 gigabytes")],
)
def test_sizes_are_read_as_docker_reads_them(text: str, size: int) -> None:
    """github.com/docker/go-units: powers of 1024; 0 here if Docker would refuse it."""
    assert option_checks.size_bytes(text) == size


VALID: list[dict[str, Any]] = [
    {"memory": "6m"},
    {"shm_size": "64m"},
    {"log_max_size": "10m"},
    *({"cpus": text} for text in ("2", "0.5", "1.25")),
    *({"user": text} for text in ("0", "1000", "1000:1000")),
    *({"platform": text} for text in ("linux/amd64", "linux/arm64/v8", "amd64")),
    *({"gpus": text} for text in ("all", "2", "device=0", "device=0,2", '"device=0,2"', "driver=nvidia,count=2")),
    *({"restart": text} for text in ("no", "always", "unless-stopped", "on-failure", "on-failure:3")),
    *({"network": text} for text in ("host", "bridge", "back-end_1")),
    {"labels": ("team=search", "empty=", "a.b/c=d=e")},
    {"cap_add": ("SYS_NICE", "all", "CAP_NET_ADMIN")},
]
INVALID: list[tuple[dict[str, Any], str]] = [
    ({"memory": "5m"}, "--memory '5m' is not a size of at least 6m, such as 2g"),
    ({"memory": "lots"}, "--memory 'lots' is not a size of at least 6m, such as 2g"),
    ({"shm_size": "0"}, "--shm-size '0' is not a size, such as 256m"),
    ({"log_max_size": "10 MBit"}, "--log-max-size '10 MBit' is not a size, such as 50m"),
    *(({"cpus": text}, f"--cpus {text!r} is not a positive number") for text in ("0", "-1", "two", "1,5", "nan", "")),
    *(({"user": text}, f"--user {text!r} is not UID or UID:GID in numbers") for text in ("nobody", "1:", ":1", "-1")),
    *(
        ({"gpus": text}, f"--gpus {text!r} is not all, a number or device=ID")
        for text in ("some", "0", "device=", "a=b")
    ),
    *(
        ({"restart": text}, f"--restart {text!r} is not no, always")
        for text in ("sometimes", "on-failure:0", "always:3")
    ),
    ({"platform": "linux amd64"}, "--platform 'linux amd64' is not OS/ARCH"),
    *(({"labels": (text,)}, f"--label {text!r} is not KEY=VALUE") for text in ("team", "=x", " a=b")),
    ({"labels": ("tfsctl.server=x",)}, "--label tfsctl.server: labels that begin with tfsctl. are set by tfsctl"),
    ({"network": "none"}, "Docker does not publish ports for --network none"),
    ({"network": "container:x"}, "Docker does not publish ports for --network container:x"),
    ({"network": "a b"}, "--network 'a b' is not the name of a network"),
    ({"cap_add": ("SYS-NICE",)}, "--cap-add 'SYS-NICE' is not a capability"),
    ({"image": "a b"}, "'a b' is not an image reference"),
]


@pytest.mark.parametrize("values", VALID, ids=str)
def test_valid_options_are_accepted(values: dict[str, Any]) -> None:
    """What Docker accepts."""
    option_checks.check_options(replace(ContainerOptions(), **values))


@pytest.mark.parametrize(("values", "message"), INVALID, ids=str)
def test_invalid_options_are_refused(values: dict[str, Any], message: str) -> None:
    """The error names the option and the value, and has a hint."""
    with pytest.raises(InvalidInput) as refused:
        option_checks.check_options(replace(ContainerOptions(), **values))
    assert refused.value.message.startswith(message)
    assert refused.value.hint
