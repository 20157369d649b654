"""Reads `saved_model.pb` before TensorFlow does: checks its graphs, and takes from it what the server needs.

The file is not parsed as a whole, which would take its size in memory once more: constants may be most of it.
Format: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, and tensorflow/core/framework/graph.proto.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.wire_format import LENGTH_DELIMITED, fields, without_large_contents
from tfsctl.server.limits import MAX_MESSAGE_BYTES
from tfsctl.server.process.resources import memory_limit_bytes
from tfsctl.server.runtime.graph_check import GraphCheck
from tfsctl.server.runtime.size_analysis import SizeAnalysis, Sizes
from tfsctl.server.status import Code, UnsafeVersionError

_TEXT_FILE = "saved_model.pbtxt"  # TensorFlow reads it if there is no saved_model.pb
_VARIABLES = {"VarHandleOp", "VariableV2", "Variable"}
_LARGE_BYTES = 64 * 1024
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system
# Field numbers: of SavedModel, MetaGraphDef, GraphDef, FunctionDefLibrary and FunctionDef
_META_GRAPHS = 2
_GRAPH, _OBJECT_GRAPH = 2, 7
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
_FUNCTION_NODE = 3


@dataclass(slots=True)
class MetaGraph:
    """One meta graph of a SavedModel. `graph_bytes` is the serialized size of its GraphDef."""

    tags: frozenset[str] = frozenset()
    signature_defs: dict[str, protos.SignatureDef] = field(default_factory=dict)
    graph_bytes: int = 0
    has_object_graph: bool = False
    has_variables: bool = False
    """Whether the graph has variables, and a saver that restores them."""
    needs_ranks: bool = False
    """Whether tensors of another rank than the signature's must not reach the graph."""
    sizes: dict[str, Sizes] = field(default_factory=dict)
    """What the sizes of tensors depend on in a run of each signature."""
    assets: tuple[str, ...] = ()
    """The files that it reads, relative to the folder of assets."""


def directory_bytes(directory: Path) -> int:
    """The size of all files of a version; 0 if they cannot be read."""
    return sum(status.st_size for status in _file_statuses(directory))


def allocated_bytes(directory: Path) -> int:
    """The space that they take on the disk: holes in a sparse file take none."""
    return sum(min(status.st_size, status.st_blocks * _BLOCK_BYTES) for status in _file_statuses(directory))


def _file_statuses(directory: Path) -> list[os.stat_result]:
    try:
        return [entry.stat() for entry in directory.rglob("*") if entry.is_file()]
    except OSError:
        return []


def read_meta_graph(directory: Path, tags: Sequence[str]) -> MetaGraph | None:
    """Check every graph of a SavedModel and return the one with exactly these tags.

    None if there is no such graph, or no readable file: loading it says what is wrong. Raises UnsafeVersionError for a
    graph that TensorFlow must not see.
    """
    try:
        graphs = _checked_meta_graphs(directory)
    except RecursionError:  # TensorFlow's parser of text has no limit
        raise UnsafeVersionError(Code.INVALID_ARGUMENT, f"The messages in {directory} are nested too deep") from None
    return next((graph for graph in graphs if graph.tags == frozenset(tags)), None)


def _checked_meta_graphs(directory: Path) -> list[MetaGraph]:
    data = _serialized(directory)
    if data is None:
        return []
    try:
        return _read_meta_graphs(data)
    except DecodeError:  # damaged, or written in an unusual way: normalize it
        try:
            return _read_meta_graphs(memoryview(protos.SavedModel.FromString(bytes(data)).SerializeToString()))
        except DecodeError:
            return []


def parse_meta_graph(data: bytes) -> MetaGraph:
    """Check and summarize one serialized MetaGraphDef. Raises UnsafeVersionError, and DecodeError for a damaged one."""
    return _read_meta_graph(memoryview(data))


def _serialized(directory: Path) -> memoryview | None:
    """The SavedModel in a directory in binary form; None if the directory has none, or if it is damaged."""
    file = directory / SAVED_MODEL_FILE
    try:
        if file.exists():
            return _contents(file)
        text = (directory / _TEXT_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    from google.protobuf import text_format

    try:
        return memoryview(text_format.Parse(text, protos.SavedModel()).SerializeToString())
    except text_format.ParseError:
        return None


def _contents(file: Path) -> memoryview | None:
    """The bytes of a file, None if it is too large for a message: TensorFlow refuses it too.

    Raises UnsafeVersionError for a pipe or a device, whose bytes have no end.
    """
    if file.is_file():
        return memoryview(file.read_bytes()) if file.stat().st_size <= MAX_MESSAGE_BYTES else None
    if file.is_dir():
        return None
    raise UnsafeVersionError(Code.FAILED_PRECONDITION, f"{file} is not a regular file")


def _read_meta_graphs(data: memoryview) -> list[MetaGraph]:
    return [_read_meta_graph(message) for message in _messages(data, _META_GRAPHS)]


def _messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """Each occurrence of a message field."""
    for found, wire_type, _, value, end in fields(data):
        if found == number and wire_type == LENGTH_DELIMITED:
            yield data[value:end]


def _read_meta_graph(data: memoryview) -> MetaGraph:
    graph, check, analysis = MetaGraph(), GraphCheck(memory_limit_bytes()), SizeAnalysis()
    small = bytearray()  # all fields but the graph and the objects
    for number, wire_type, start, value, end in fields(data):
        if number == _GRAPH and wire_type == LENGTH_DELIMITED:
            graph.graph_bytes += end - value
            graph.has_variables |= _check_graph(data[value:end], check, analysis)
        elif number == _OBJECT_GRAPH:
            graph.has_object_graph = True
        else:
            small += data[start:end]
    check.check_calls()
    graph.needs_ranks = check.needs_ranks
    rest = protos.MetaGraphDef.FromString(bytes(small))
    graph.tags = frozenset(rest.meta_info_def.tags)
    graph.assets = tuple(asset.filename for asset in rest.asset_file_def if "\0" not in asset.filename)
    graph.has_variables &= bool(rest.saver_def.restore_op_name)
    for name, definition in rest.signature_def.items():
        kept = graph.signature_defs[name] = protos.SignatureDef()
        kept.CopyFrom(definition)
        graph.sizes[name] = analysis.sizes(output.name for output in kept.outputs.values())
    return graph


def _check_graph(data: memoryview, check: GraphCheck, analysis: SizeAnalysis) -> bool:
    """Check a GraphDef, add its nodes to the analysis, and say whether variables are among them."""
    has_variables = False
    for number, wire_type, _, value, end in fields(data):
        if wire_type != LENGTH_DELIMITED:
            continue
        if number == _NODE:
            node = protos.NodeDef.FromString(_small(data[value:end], protos.NodeDef))
            check.check_node(node)
            analysis.add_node(node)
            has_variables |= node.op in _VARIABLES
        elif number == _LIBRARY:
            for function in _messages(data[value:end], _FUNCTION):
                _check_function(function, check, analysis)
    return has_variables


def _check_function(data: memoryview, check: GraphCheck, analysis: SizeAnalysis) -> None:
    nodes: list[memoryview] = []
    other = bytearray()  # all fields but the nodes
    for number, wire_type, start, value, end in fields(data):
        if number == _FUNCTION_NODE and wire_type == LENGTH_DELIMITED:
            nodes.append(data[value:end])
        else:
            other += data[start:end]
    function = protos.FunctionDef.FromString(_small(memoryview(other), protos.FunctionDef))
    check.check_function(function)
    analysis.add_function(function)
    for serialized in nodes:
        node = protos.NodeDef.FromString(_small(serialized, protos.NodeDef))
        check.check_node(node, function.signature.name)
        analysis.add_node(node, function.signature.name)


def _small(data: memoryview, message: type[protos.NodeDef | protos.FunctionDef]) -> bytes:
    """A serialized message without the contents of its tensors, if it is large."""
    return bytes(data) if len(data) < _LARGE_BYTES else without_large_contents(data, message.DESCRIPTOR)
