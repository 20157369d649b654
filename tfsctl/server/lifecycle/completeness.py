"""Whether a version on disk is all there. TensorFlow loads one without its variables, and then fails each request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.server.status import ServingError, not_found

_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}


@contextmanager
def watched(directory: Path, tags: Sequence[str]) -> Iterator[None]:
    """Watch over a load: raises NOT_FOUND where the files of the model's variables are not there, or did not stay.

    They are missing while a copy goes on, and they go when a version is deleted.
    """
    index = directory / "variables" / "variables.index"
    is_there = index.exists()
    if not is_there and _has_variables(directory, tags):
        raise _missing(index)
    yield
    if is_there and not index.exists():
        raise _missing(index)


def _missing(index: Path) -> ServingError:
    return not_found(f"{index}; the model has variables, and their files are not there")


def _has_variables(directory: Path, tags: Sequence[str]) -> bool:
    try:
        saved = protos.SavedModel.FromString((directory / SAVED_MODEL_FILE).read_bytes())
    except (OSError, DecodeError):
        return False  # loading it says what is wrong
    graphs = [graph for graph in saved.meta_graphs if set(graph.meta_info_def.tags) == set(tags)]
    return any(
        graph.saver_def.restore_op_name and any(node.op in _VARIABLES for node in graph.graph_def.node)
        for graph in graphs
    )
