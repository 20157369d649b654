"""Gives memory that TensorFlow has freed back to the system.

After a version has replaced another, the memory of both would stay with the process. TensorFlow takes tensors from
glibc's heap, which keeps those that were not mapped on their own until it is trimmed, or from oneDNN's allocator, which
keeps all for good (`allocator_choice`).
"""

from __future__ import annotations

import ctypes as c
import os
import sys
from pathlib import Path

from tfsctl.core import dtypes
from tfsctl.server.process.libc import libc
from tfsctl.server.runtime import capi

_PIECE_BYTES = 1024 * 1024
_MADV_DONTNEED = 4  # linux/mman.h


def release_free_memory(most_bytes: int) -> None:
    """Give up to `most_bytes` that were freed back to the system. Does nothing outside Linux.

    TensorFlow has no function for that. So this allocates free memory in pieces, has the kernel drop their pages, and
    frees the pieces again: pages that are needed later are new ones.
    """
    if sys.platform != "linux":
        return
    library, page = capi.gil_held(), os.sysconf("SC_PAGE_SIZE")
    shape, pieces = (c.c_int64 * 1)(_PIECE_BYTES), []
    try:
        for _ in range(most_bytes // _PIECE_BYTES):
            before = _mapped_pages()
            piece = library.TF_AllocateTensor(dtypes.UINT8.number, shape, 1, _PIECE_BYTES)
            pieces.append(piece)
            if _mapped_pages() - before >= _PIECE_BYTES // page:
                break  # that piece is new memory: nothing is free
            start = library.TF_TensorData(piece)
            first = -(-start // page) * page
            size = (start + _PIECE_BYTES) // page * page - first
            libc().madvise(c.c_void_p(first), c.c_size_t(size), _MADV_DONTNEED)
    finally:
        for piece in pieces:
            library.TF_DeleteTensor(piece)


def _mapped_pages() -> int:
    """The size of the address space that the process uses, in pages."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split(maxsplit=1)[0])
