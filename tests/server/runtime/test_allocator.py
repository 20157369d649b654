"""Memory that TensorFlow has freed goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.tensorflow

PROGRAM = """
import ctypes, re
from pathlib import Path
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.allocator import release_free_memory

MB = 1024 * 1024

def private_mb():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def tensor(megabytes):
    allocated = library.TF_AllocateTensor(4, (ctypes.c_int64 * 1)(megabytes * MB), 1, megabytes * MB)
    ctypes.memset(library.TF_TensorData(allocated), 7, megabytes * MB)
    return allocated

library = capi.gil_held()
library.TF_DeleteTensor(tensor(1))
before = private_mb()
kept, freed = tensor(100), tensor(100)
library.TF_DeleteTensor(freed)
release_free_memory(100 * MB)
contents = ctypes.string_at(library.TF_TensorData(kept), 100 * MB)
assert contents == bytes([7]) * 100 * MB
del contents
print(private_mb() - before)
library.TF_DeleteTensor(tensor(100))  # memory that was given back can be used again
release_free_memory(1000 * MB)
library.TF_DeleteTensor(kept)
release_free_memory(1000 * MB)
print(private_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_free_memory_is_released_and_tensors_keep_their_values() -> None:
    """Of two tensors of 100 MiB, one is freed; then the other."""
    ended = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    one, none = map(float, ended.stdout.split())
    assert 100 <= one < 120
    assert none < 50
