"""Build a stand-in for the `tensorflow/serving` image, which cannot be pulled where tests run: our own server inside.

    python tests/support/build_standin.py     # prints its tag

Its contract is the real one (tensorflow_serving/tools/docker): an entrypoint that is a shell script, MODEL_NAME and
MODEL_BASE_PATH, ports 8500 and 8501, further arguments appended. Its files are this machine's: the Python that runs
this script, the packages the server needs, and the shared libraries those ask for.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

import uvloop

import tfsctl

ENTRYPOINT = """#!/bin/sh

tensorflow_model_server --port=8500 --rest_api_port=8501 \\
--model_name=${MODEL_NAME} --model_base_path=${MODEL_BASE_PATH}/${MODEL_NAME} \\
"$@"
"""
TAG, BASE = "tfsctl-standin:latest", "tfsctl-standin:base"
SITE = "/opt/site-packages"
# Half of what is installed is for training, for building, or for tests.
LEFT_OUT = re.compile(
    r"(keras|h5py|h5py\.libs|clang|mypy|mypyc|ruff|uv|pip|setuptools|pkg_resources|pytest|_pytest|hypothesis|hatchling)$|"
    r".*__mypyc\.|grpc$|pygments$|tensorflow/(include|python|lite|_api)$"
)
STDLIB_LEFT_OUT = re.compile(r"(site-packages|dist-packages|test|idlelib|tkinter|ensurepip|lib2to3|config-.*)$")


DOCKERFILE = f"""FROM {BASE}
COPY tfsctl {SITE}/tfsctl
ENV MODEL_NAME=model MODEL_BASE_PATH=/models PATH=/usr/bin:/bin PYTHONPATH={SITE}
EXPOSE 8500 8501
ENTRYPOINT ["/usr/bin/tf_serving_entrypoint.sh"]
"""


def build() -> str:
    """Build the image and return its tag. Seconds where only our sources have changed since the last time."""
    build_base()
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as files:
        add_file(files, "Dockerfile", DOCKERFILE, mode=0o644)
        add_tree(files, Path(tfsctl.__file__).parent, "tfsctl", left_out=re.compile(r".*__pycache__$"))
    subprocess.run(["docker", "build", "--tag", TAG, "-"], input=context.getvalue(), check=True, capture_output=True)
    return TAG


def build_base() -> None:
    """Import everything but our own sources, unless that was done with the same packages."""
    contents = fingerprint()
    inspect = ["docker", "image", "inspect", "--format", "{{.Config.Labels.contents}}", BASE]
    if subprocess.run(inspect, capture_output=True, text=True, check=False).stdout.strip() == contents:
        return
    argv = ["docker", "import", "--change", f"LABEL contents={contents}", "-", BASE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as docker:
        assert docker.stdin is not None
        with tarfile.open(fileobj=docker.stdin, mode="w|", bufsize=1 << 20) as image:
            add_everything(image)
    if docker.returncode != 0:
        raise RuntimeError(f"docker import ended with status {docker.returncode}")
    subprocess.run(
        ["docker", "image", "prune", "--force", "--filter", "label=contents"], capture_output=True, check=True
    )


def fingerprint() -> str:
    """A number that changes with this script, the installed packages or the Python."""
    digest = hashlib.sha256(sys.version.encode() + Path(__file__).read_bytes())
    for package in sorted(f"{found.name} {found.version}" for found in distributions()):
        digest.update(package.encode())
    return digest.hexdigest()[:16]


def add_everything(image: tarfile.TarFile) -> None:
    """Write every file of the image."""
    python = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    site = Path(uvloop.__file__).parents[1]  # may be the packages of another virtual environment
    add(image, python, str(python))
    add_tree(image, stdlib, str(stdlib), left_out=STDLIB_LEFT_OUT)
    add_tree(image, site, SITE, left_out=LEFT_OUT)
    shells = {name: Path(name).resolve() for name in ("/bin/sh", "/bin/bash")}  # bash: health checks are run by it
    for name, shell in shells.items():
        add(image, shell, name)
    binaries = [python, *shells.values(), *stdlib.glob("lib-dynload/*.so"), *binaries_in(site)]
    for name, library in sorted(shared_libraries(binaries, besides=site).items()):
        add(image, library, name)
    add_script(image, "/usr/bin/tf_serving_entrypoint.sh", ENTRYPOINT)
    add_script(image, "/usr/bin/tensorflow_model_server", f'#!/bin/sh\nexec {python} -m tfsctl.server "$@"\n')
    add_file(image, "/etc/passwd", "root:x:0:0:root:/:/bin/sh\n", mode=0o644)
    for directory in ("/models", "/tmp"):  # noqa: S108 - a directory of the image
        entry = tarfile.TarInfo(directory.lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        image.addfile(entry)


def binaries_in(site: Path) -> list[Path]:
    """The shared objects among the packages that go into the image."""
    kept: list[Path] = []
    for folder, folders, files in os.walk(site):
        at = Path(folder).relative_to(site)
        folders[:] = [name for name in folders if not LEFT_OUT.match(str(at / name))]
        kept += [Path(folder, name) for name in files if ".so" in name]
    return kept


def shared_libraries(binaries: Iterable[Path], *, besides: Path) -> dict[str, Path]:
    """The libraries outside `besides` that the dynamic linker finds for them, by the name it looks for."""
    output = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False).stdout
    found = {name: Path(name) for name in re.findall(r"(?:=> |^\s+)(/\S+) \(0x", output, flags=re.MULTILINE)}
    return {name: path.resolve() for name, path in found.items() if besides not in path.parents}


def add_tree(image: tarfile.TarFile, source: Path, target: str, *, left_out: re.Pattern[str]) -> None:
    """Add a directory without what matches `left_out`."""

    def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        inside = entry.name.removeprefix(target.lstrip("/")).lstrip("/")
        return None if inside and left_out.match(inside) else owned_by_root(entry)

    image.add(source, target, filter=keep)


def add(image: tarfile.TarFile, source: Path, target: str) -> None:
    """Add one file."""
    image.add(source, target, filter=owned_by_root)


def add_script(image: tarfile.TarFile, target: str, text: str) -> None:
    """Add a program."""
    add_file(image, target, text, mode=0o755)


def add_file(image: tarfile.TarFile, target: str, text: str, *, mode: int) -> None:
    """Add a file with this text."""
    entry = tarfile.TarInfo(target.lstrip("/"))
    entry.size, entry.mode = len(text.encode()), mode
    image.addfile(entry, io.BytesIO(text.encode()))


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The entry as root's, readable by everyone."""
    entry.uid = entry.gid = 0
    entry.mode |= 0o555 if entry.isdir() else 0o444
    return entry


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
