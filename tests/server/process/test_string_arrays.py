"""Large arrays of strings are not freed in one call."""

from __future__ import annotations

import sys
from queue import SimpleQueue
from typing import Any

import numpy as np
import psutil
import pytest
from waiting import wait_for

from tfsctl.core.arrays import PIECE_VALUES
from tfsctl.server.process import string_arrays
from tfsctl.server.process.string_arrays import StringParts

COUNT = 20 * PIECE_VALUES


def collected(count: int) -> StringParts:
    """So many strings, added in parts."""
    strings = StringParts()
    for start in range(0, count, PIECE_VALUES):
        strings.add([b"%d" % index for index in range(start, min(start + PIECE_VALUES, count))])
    return strings


def test_the_strings_of_a_large_array_outlive_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are handed over when the last view is gone."""
    garbage: SimpleQueue[Any] = SimpleQueue()
    monkeypatch.setattr(string_arrays, "free_by", lambda work: garbage.put(*work.args))
    array = collected(COUNT).array()
    view = array.reshape(2, -1)[1]
    assert type(array) is np.ndarray
    assert view[0] == b"%d" % (COUNT // 2)

    del array
    assert garbage.empty()
    del view
    left = garbage.get_nowait()
    assert left.tolist() == [b"%d" % index for index in range(COUNT)]
    left[:] = None
    del left
    assert garbage.empty()


def test_a_thread_frees_them() -> None:
    """No reference to a string is left."""
    text = b"text %d" % COUNT
    references = sys.getrefcount(text)
    strings = collected(COUNT)
    strings.add([text])
    array = strings.array()
    assert sys.getrefcount(text) == references + 1
    del array
    wait_for(lambda: sys.getrefcount(text) == references)


def test_making_a_large_array_does_not_touch_its_memory() -> None:
    """Writing to each of its places at once would hold Python's lock. Their pages are used when strings are added."""
    count = 20_000_000
    before = resident_bytes()
    array = string_arrays._LargeArray.of_size(count)
    assert resident_bytes() - before < count
    assert array[count - 1] is None
    array[-1] = b"x"
    assert array.nbytes == count * 8
    assert array[-2:].tolist() == [None, b"x"]


def resident_bytes() -> int:
    """The memory that this process uses."""
    return int(psutil.Process().memory_info().rss)


@pytest.mark.parametrize("count", [0, 1, PIECE_VALUES, 3 * PIECE_VALUES + 1])
def test_arrays_have_the_collected_strings(count: int) -> None:
    """Few or many of them, in order."""
    assert collected(count).array().tolist() == [b"%d" % index for index in range(count)]
