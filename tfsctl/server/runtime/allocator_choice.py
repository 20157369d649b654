"""Chooses where TensorFlow takes the memory of large tensors from.

On CPUs where TensorFlow uses oneDNN, that is an allocator that never gives memory back to the system, and takes twice
as much each time that it needs more (BFCAllocator in MklCPUAllocator, mkl_cpu_allocator.h). With it, a server of a text
model kept 105 MB instead of 89 MB under load and new versions, and another one kept 33 MB after 24 clients had sent 8 MB
each. glibc's heap, which is trimmed, is as fast for small models. But MobileNetV2 took up to 15 % more CPU time for an
image with the heap (median 7 %; benchmarks/matrix.py, image cells), so models with convolutions keep oneDNN's allocator.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tfsctl.core.model_dir import list_versions
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.errors import TfsctlError

USE_HEAP = "TF_ONEDNN_USE_SYSTEM_ALLOCATOR"  # read by TensorFlow once, when it takes memory for the first time
_CONVOLUTION = b"Conv"  # in the names of all operations that convolve, and of hardly any other
_SEARCHED_BYTES = 64 * 1024 * 1024  # of a graph; the rest is mostly the values of constants
_PIECE_BYTES = 1024 * 1024


def choose_allocator(base_paths: Iterable[str]) -> None:
    """Let TensorFlow take all tensors from the heap, unless the newest version of one of these models has convolutions.

    Call it before TensorFlow starts. TF_ONEDNN_USE_SYSTEM_ALLOCATOR in the environment takes precedence.
    """
    if USE_HEAP not in os.environ and not any(map(_convolves, base_paths)):
        os.environ[USE_HEAP] = "1"


def _convolves(base_path: str) -> bool:
    """Whether the newest version has convolutions. False if it cannot be read: loading it says why."""
    try:
        newest = list_versions(Path(base_path))[-1:]
        return any(_contains(version.path / SAVED_MODEL_FILE, _CONVOLUTION) for version in newest)
    except (OSError, TfsctlError):
        return False


def _contains(file: Path, text: bytes) -> bool:
    """Whether the beginning of a regular file contains a text."""
    if not file.is_file():  # reading a pipe could take forever
        return False
    with file.open("rb") as opened:
        before = b""
        while opened.tell() < _SEARCHED_BYTES and (piece := opened.read(_PIECE_BYTES)):
            if text in before + piece:
                return True
            before = piece[1 - len(text) :]
    return False
