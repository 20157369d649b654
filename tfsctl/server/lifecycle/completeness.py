"""Checks that the variables of a version are on disk: TensorFlow loads it without them, and then fails every request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfsctl.server.runtime.saved_model_file import MetaGraph
from tfsctl.server.status import ServingError, not_found


@contextmanager
def check_variables(directory: Path, meta_graph: MetaGraph | None) -> Iterator[None]:
    """Check before and after the block, which loads the version. Raises NOT_FOUND if the variables' files are missing.

    They are missing while a version is being copied, and disappear while one is deleted.
    """
    index = directory / "variables" / "variables.index"
    existed = index.exists()
    if not existed and meta_graph is not None and meta_graph.has_variables:
        raise _missing(index)
    yield
    if existed and not index.exists():
        raise _missing(index)


def _missing(index: Path) -> ServingError:
    return not_found(f"{index}; the model has variables, and their files are not there")
