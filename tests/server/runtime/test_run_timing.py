"""Which models may run on the event loop."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.status import Code, ServingError

ENOUGH = 1000  # runs after which a slow model is measured again


def fail(code: Code) -> NoReturn:
    """Fail as a run does."""
    raise ServingError(code, "failed")


def quick_timing() -> RunTiming:
    """The timing of a model whose runs take no time."""
    timing = RunTiming()
    for _ in range(ENOUGH):
        timing.run_inline(lambda: None)
    return timing


def test_a_model_that_lacked_memory_stays_slow() -> None:
    """TensorFlow waits ten seconds for memory, during which nothing else would be served."""
    timing = quick_timing()
    assert timing.is_quick
    with pytest.raises(ServingError):
        timing.run_inline(lambda: fail(Code.RESOURCE_EXHAUSTED))
    for _ in range(ENOUGH):
        timing.run_inline(lambda: None)

    assert not timing.is_quick


def test_a_model_that_fails_otherwise_stays_quick() -> None:
    """Invalid requests are quick, too."""
    timing = quick_timing()
    with pytest.raises(ServingError):
        timing.run_inline(lambda: fail(Code.INVALID_ARGUMENT))

    assert timing.is_quick
