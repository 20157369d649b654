"""Large arrays of strings are not freed in one call."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np
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
    """They are handed over in small parts when the last view is gone."""
    garbage: SimpleQueue[Any] = SimpleQueue()
    monkeypatch.setattr(string_arrays, "_garbage", lambda: garbage)
    array = collected(COUNT).array()
    view = array.reshape(2, -1)[1]
    assert view[0] == b"%d" % (COUNT // 2)

    del array
    assert garbage.empty()
    del view
    parts = garbage.get_nowait()
    assert sum(part.size for part in parts) == COUNT
    assert max(part.size for part in parts) <= PIECE_VALUES
    assert parts[-1][-1] == b"%d" % (COUNT - 1)


def test_a_thread_frees_them() -> None:
    """One part after the other."""
    parts = [np.array([b"x"], object) for _ in range(3)]
    string_arrays._garbage().put(parts)
    wait_for(lambda: not parts)


@pytest.mark.parametrize("count", [0, 1, PIECE_VALUES, 3 * PIECE_VALUES + 1])
def test_small_arrays(count: int) -> None:
    """They are arrays like others."""
    assert collected(count).array().tolist() == [b"%d" % index for index in range(count)]
