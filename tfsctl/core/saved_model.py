"""Reads `saved_model.pb` without TensorFlow: tags, signatures and operations of a SavedModel.

Format: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsctl.core import dtypes, protos
from tfsctl.core.types import Encoding, Shape, Signature, TensorSpec
from tfsctl.errors import ModelUnreadable, NotFound

SAVED_MODEL_FILE = "saved_model.pb"
SERVE_TAG = "serve"


@dataclass(frozen=True, slots=True)
class SavedModelInfo:
    """The contents of a SavedModel.

    - `signatures`: of the graph tagged `serve`, without TensorFlow's internal `__…` entries.
    - `ops`: all operations that the graph and its functions use.
    - `size_bytes`: the size of all files in the directory.
    """

    path: Path
    tags: tuple[str, ...]
    signatures: Mapping[str, Signature]
    ops: frozenset[str]
    tensorflow_version: str
    size_bytes: int


def read_saved_model(directory: Path) -> SavedModelInfo:
    """Read one SavedModel directory (a version directory of a model).

    Raises NotFound if there is no `saved_model.pb`, ModelUnreadable if it is invalid or has no graph tagged `serve`.
    """
    graph = read_meta_graph(directory)
    ops = {node.op for node in graph.graph_def.node}
    for function in graph.graph_def.library.function:
        ops.update(node.op for node in function.node_def)
    ops -= {function.signature.name for function in graph.graph_def.library.function}  # calls of functions by name
    return SavedModelInfo(
        path=directory,
        tags=tuple(graph.meta_info_def.tags),
        signatures=signatures_from_proto(graph.signature_def),
        ops=frozenset(ops),
        tensorflow_version=graph.meta_info_def.tensorflow_version,
        size_bytes=sum(f.stat().st_size for f in directory.rglob("*") if f.is_file()),
    )


def read_meta_graph(directory: Path) -> protos.MetaGraphDef:
    """The graph of a SavedModel that is tagged `serve` only, otherwise the first one with this tag among others.

    Raises as `read_saved_model` does.
    """
    file = directory / SAVED_MODEL_FILE
    try:
        raw = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"no {SAVED_MODEL_FILE} in {directory}", hint="tfsctl export SOURCE writes one") from None
    except OSError as error:
        raise ModelUnreadable(f"cannot read {file}: {error.strerror}") from error
    graphs = _parse(raw, file).meta_graphs
    graph = min(
        (g for g in graphs if SERVE_TAG in g.meta_info_def.tags),
        key=lambda g: len(g.meta_info_def.tags) > 1,
        default=None,
    )
    if graph is None:
        found = ", ".join("{" + ", ".join(g.meta_info_def.tags) + "}" for g in graphs)
        raise ModelUnreadable(
            f"{file} has no graph tagged {SERVE_TAG!r} (its tag sets: {found})",
            hint=tags_hint(directory, graphs[0].meta_info_def.tags),
        )
    return graph


def tags_hint(directory: Path, tags: Iterable[str]) -> str:
    """How to export a graph that has other tags than `serve` alone."""
    return f"write a Python file with `model = tf.saved_model.load({str(directory)!r}, tags={list(tags)})`, and export that"


def _parse(raw: bytes, file: Path) -> protos.SavedModel:
    """The SavedModel message in a file. Raises ModelUnreadable if it is invalid or has no graph."""
    from google.protobuf.message import DecodeError

    try:
        parsed = protos.SavedModel.FromString(raw)
    except DecodeError as error:
        raise ModelUnreadable(
            f"{file} is not a SavedModel: {error}", hint="the copy may be incomplete: copy or export the version again"
        ) from error
    if not parsed.meta_graphs:
        raise ModelUnreadable(
            f"{file} holds no graph", hint="the copy may be incomplete: copy or export the version again"
        )
    return parsed


def signatures_from_proto(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """The signatures of a map of SignatureDef messages, sorted by name, without TensorFlow's internal `__…` entries."""
    return {
        name: Signature(
            name=name,
            inputs=_specs(signature_defs[name].inputs),
            outputs=_specs(signature_defs[name].outputs),
            method_name=signature_defs[name].method_name,
        )
        for name in sorted(signature_defs)
        if not name.startswith("__")
    }


def _specs(infos: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, infos[name]) for name in sorted(infos))


def _spec(name: str, info: protos.TensorInfo) -> TensorSpec:
    shape: Shape | None = None
    if info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank:
        shape = tuple(None if dim.size < 0 else int(dim.size) for dim in info.tensor_shape.dim)
    encoding: Encoding = "sparse" if info.HasField("coo_sparse") else "dense"
    dtype = info.dtype
    if info.HasField("composite_tensor"):
        composite = info.composite_tensor
        ragged = composite.type_spec.type_spec_class == composite.type_spec.RAGGED_TENSOR_SPEC
        encoding = "ragged" if ragged else "composite"
        dtype = dtype or next(
            (part.dtype for part in composite.components), dtype
        )  # the values are the first component
    return TensorSpec(name=name, dtype=dtypes.name_of(dtype), shape=shape, tensor=info.name, encoding=encoding)
