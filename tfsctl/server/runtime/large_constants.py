"""Loads the large constants of a graph as variables, so that they are in memory once.

TensorFlow keeps three to eight copies of each constant, and needs eight to twelve while it optimizes the graph at the
first run. So a copy of the SavedModel is loaded in which large constants are variables of the same names and values. The
values are then read from the original file.
Format: tensorflow/core/protobuf/meta_graph.proto and tensorflow/core/framework/{graph,function,node_def}.proto.
"""

from __future__ import annotations

import ctypes as c
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint, fields, without_large_contents
from tfsctl.server.runtime import capi
from tfsctl.server.status import Code, ServingError

_Parts = list[bytes | memoryview]
_Fields = Mapping[int, "_Fields | None"]
"""Fields of a message by number: for a message those in it, None for a node."""

MIN_GRAPH_BYTES = 16 * 1024 * 1024
"""Of a graph whose constants are worth it."""
_MIN_BYTES = 64 * 1024  # of a constant
_FILTER_RANK = 4
# TensorFlow optimizes convolutions by constant filters: constants of that rank stay in graphs below this size, and below
# that size in any graph
_MIN_GRAPH_BYTES_OF_FILTERS = 128 * 1024 * 1024
_MIN_FILTER_BYTES = 16 * 1024 * 1024
_ASSETS = "assets"
_PREFIX = "tfsctl_large_constant"
# Field numbers on the way to the nodes of a SavedModel: in its MetaGraphDefs, in their GraphDefs and FunctionDefs
_META_GRAPHS, _GRAPH, _NODE, _LIBRARY, _FUNCTION, _FUNCTION_NODE = 2, 2, 1, 2, 1, 3
_IN_GRAPH: _Fields = {_NODE: None, _LIBRARY: {_FUNCTION: {_FUNCTION_NODE: None}}}
_IN_META_GRAPH: _Fields = {_GRAPH: _IN_GRAPH}
_IN_SAVED_MODEL: _Fields = {_META_GRAPHS: _IN_META_GRAPH}
_ASSET, _NODE_NAME = 6, 1  # of a MetaGraphDef, of a NodeDef
_TENSOR_PATH = (5, 2, 8)  # of a NodeDef: attr, its value, tensor
# of TensorProto: the fields whose bytes are those of the tensor, and the dtype that each is for
_VALUES = {4: None, 5: dtypes.BY_NAME["float32"], 6: dtypes.BY_NAME["float64"]}


@dataclass(frozen=True, slots=True)
class LargeConstant:
    """A constant that became a variable: its dtype and shape, and where its values are in saved_model.pb."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class SplitModel:
    """A SavedModel without its large constants, in a directory of its own, and these constants."""

    directory: Path
    constants: Sequence[LargeConstant]

    def assign(self, session: int, graph: int, original: Path) -> None:
        """Read the constants from the original version, and assign them in a loaded session."""
        found = [one for one in self.constants if _operation(graph, one, "assign")]  # not those of another meta graph
        if found:
            with (original / SAVED_MODEL_FILE).open("rb", buffering=0) as file:
                _assign(session, graph, found, file)


@contextmanager
def split_model(directory: Path) -> Iterator[SplitModel | None]:
    """A SavedModel split for as long as the block runs; None if it has no large constants.

    Raises OSError if it cannot be written, and DecodeError if it is damaged.
    """
    splitter = _Splitter(directory)
    data = memoryview((directory / SAVED_MODEL_FILE).read_bytes())
    parts = splitter.copy(data)
    if not splitter.constants:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tfsctl-") as folder:
        for entry in directory.iterdir():
            if entry.name != SAVED_MODEL_FILE:
                (Path(folder) / entry.name).symlink_to(entry.absolute())
        with (Path(folder) / SAVED_MODEL_FILE).open("wb") as file:
            file.writelines(parts)
        del data, parts
        yield SplitModel(Path(folder), splitter.constants)


class _Splitter:
    """Copies a serialized SavedModel without its large constants, which it collects.

    The copy reads the assets in the original directory: their paths become part of the graph, which may read them later.
    """

    def __init__(self, directory: Path) -> None:
        self.constants: list[LargeConstant] = []
        self._assets = directory / _ASSETS
        self._paths: dict[str, bytes] = {}  # of the assets of a meta graph whose nodes were not found yet
        self._min_filter_bytes = _MIN_FILTER_BYTES

    def copy(self, data: memoryview, offset: int = 0, changed: _Fields = _IN_SAVED_MODEL) -> _Parts:
        """A copy of the message at this offset of the file, in which the nodes below these fields are changed."""
        first = len(self.constants)
        parts: _Parts = []
        if changed is _IN_META_GRAPH:
            self._paths = self._asset_paths(data)
        elif changed is _IN_GRAPH:
            self._min_filter_bytes = _MIN_BYTES if len(data) >= _MIN_GRAPH_BYTES_OF_FILTERS else _MIN_FILTER_BYTES
        for number, wire_type, start, value, end in fields(data):
            if changed is _IN_META_GRAPH and number == _ASSET:
                continue
            content = data[value:end]
            inner = changed.get(number) if wire_type == LENGTH_DELIMITED else None
            if inner is not None:
                _append(parts, number, self.copy(content, offset + value, inner))
                continue
            is_node = wire_type == LENGTH_DELIMITED and number in changed
            nodes = self._replacement(content, offset + value, number) if is_node else None
            if nodes is None:
                parts.append(data[start:end])
            else:
                _append_nodes(parts, number, nodes)
        if changed is _IN_GRAPH:
            for constant in self.constants[first:]:
                _append_nodes(parts, _NODE, _assignment(constant))
        elif changed is _IN_META_GRAPH and self._paths:
            raise DecodeError(f"the graph has no node {min(self._paths)}, which should be the path of an asset")
        return parts

    def _asset_paths(self, data: memoryview) -> dict[str, bytes]:
        """The path of each asset of a meta graph, by the name of the node that stands for it."""
        assets = b"".join(data[start:end] for number, _, start, _, end in fields(data) if number == _ASSET)
        found = protos.MetaGraphDef.FromString(assets).asset_file_def
        return {one.tensor_info.name.removesuffix(":0"): os.fsencode(f"{self._assets}/{one.filename}") for one in found}

    def _replacement(self, data: memoryview, offset: int, number: int) -> Iterator[protos.NodeDef] | None:
        """The nodes that take the place of an asset's path or a large constant; None for others. `number` is the field."""
        path = self._paths.pop(_name(data), None) if self._paths and number == _NODE else None
        if path is not None:
            return iter((_path_node(data, path),))
        if len(data) < _MIN_BYTES:
            return None
        node = protos.NodeDef.FromString(without_large_contents(data, protos.NodeDef.DESCRIPTOR))
        found = _values(data, offset) if node.op == "Const" else None
        tensor = node.attr["value"].tensor
        dtype = dtypes.BY_NUMBER.get(tensor.dtype)
        if found is None or dtype is None or dtype is dtypes.STRING or tensor.dtype != node.attr["dtype"].type:
            return None
        shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
        field, values_offset, size = found
        least = _MIN_BYTES if len(shape) < _FILTER_RANK else self._min_filter_bytes
        if size < least or size != math.prod(shape) * dtype.numpy.itemsize or _VALUES[field] not in (None, dtype):
            return None
        constant = LargeConstant(f"{_PREFIX}/{len(self.constants)}", tensor.dtype, shape, values_offset, size)
        self.constants.append(constant)
        return _reading(node, constant, in_function=number == _FUNCTION_NODE)


def _name(data: memoryview) -> str:
    """The name of a serialized node."""
    names = [data[start:end] for number, _, _, start, end in fields(data) if number == _NODE_NAME]
    return bytes(names[-1]).decode("utf-8", "replace") if names else ""


def _path_node(data: memoryview, path: bytes) -> protos.NodeDef:
    """The node of an asset's path, to which TensorFlow would feed the path while it loads the graph, as a constant."""
    node = protos.NodeDef.FromString(bytes(data))
    constant = protos.NodeDef(name=node.name, op="Const", device=node.device, input=node.input)
    constant.attr["dtype"].type = dtypes.STRING.number
    value = constant.attr["value"].tensor
    value.dtype = dtypes.STRING.number
    value.tensor_shape.SetInParent()
    value.string_val.append(path)
    return constant


def _append(parts: _Parts, number: int, payload: _Parts) -> None:
    """Append a field with this payload."""
    parts += (encode_varint(number << 3 | LENGTH_DELIMITED), encode_varint(sum(map(len, payload))), *payload)


def _append_nodes(parts: _Parts, number: int, nodes: Iterator[protos.NodeDef]) -> None:
    for node in nodes:
        _append(parts, number, [node.SerializeToString()])


def _values(data: memoryview, offset: int) -> tuple[int, int, int] | None:
    """The only field of a node that holds the bytes of its tensor: its number, its place in the file and its size."""
    found: list[tuple[int, int, int]] = []

    def look(data: memoryview, offset: int, path: Sequence[int]) -> None:
        for number, wire_type, _, value, end in fields(data):
            if wire_type != LENGTH_DELIMITED:
                continue
            if path and number == path[0]:
                look(data[value:end], offset + value, path[1:])
            elif not path and number in _VALUES:
                found.append((number, offset + value, end - value))

    look(data, offset, _TENSOR_PATH)
    return found[0] if len(found) == 1 else None


def _handle(constant: LargeConstant, name: str) -> protos.NodeDef:
    node = protos.NodeDef(name=name, op="VarHandleOp")
    node.attr["dtype"].type = constant.dtype
    node.attr["shape"].shape.SetInParent()
    for size in constant.shape:
        node.attr["shape"].shape.dim.add(size=size)
    node.attr["shared_name"].s = constant.name.encode()
    node.attr["container"].s = b""
    return node


def _reading(node: protos.NodeDef, constant: LargeConstant, *, in_function: bool) -> Iterator[protos.NodeDef]:
    """The nodes that take the place of a constant: the last has its name and its output.

    A node less for each constant counts: the first request of a model with a thousand constants takes seconds. So the
    constants of the graph itself have the handle of `_assignment`, unless control inputs make them part of a loop.
    """
    read = protos.NodeDef(name=node.name, op="ReadVariableOp", device=node.device)
    read.attr["dtype"].type = constant.dtype
    if not in_function and not node.input:
        read.input.append(_handle_name(constant))
        return iter((read,))
    handle = _handle(constant, f"{node.name}/{_PREFIX}_handle")
    handle.device = node.device
    handle.input.extend(node.input)  # control inputs
    if not in_function:
        read.input.append(handle.name)
        return iter((handle, read))
    read.name = f"{node.name}/{_PREFIX}_read"
    read.input.append(f"{handle.name}:resource:0")
    value = protos.NodeDef(name=node.name, op="Identity", device=node.device, input=[f"{read.name}:value:0"])
    value.attr["T"].type = constant.dtype
    return iter((handle, read, value))


def _handle_name(constant: LargeConstant) -> str:
    return f"{constant.name}/handle"


def _assignment(constant: LargeConstant) -> Iterator[protos.NodeDef]:
    """The nodes that assign the variable of a constant."""
    handle = _handle(constant, _handle_name(constant))
    value = protos.NodeDef(name=f"{constant.name}/value", op="Placeholder")
    value.attr["dtype"].type = constant.dtype
    value.attr["shape"].shape.unknown_rank = True
    assign = protos.NodeDef(name=f"{constant.name}/assign", op="AssignVariableOp", input=[handle.name, value.name])
    assign.attr["dtype"].type = constant.dtype
    return iter((handle, value, assign))


def _operation(graph: int, constant: LargeConstant, name: str) -> int | None:
    """One of the nodes that `_assignment` added; None if the graph is another."""
    found: int | None = capi.gil_held().TF_GraphOperationByName(graph, f"{constant.name}/{name}".encode())
    return found


def _assign(session: int, graph: int, constants: Sequence[LargeConstant], file: FileIO) -> None:
    """Read the values of constants into tensors, and make them the values of their variables, without another copy.

    That is one run: for each run with other operations, TensorFlow prepares the whole graph once more.
    """
    library, status, count = capi.gil_held(), capi.status(), len(constants)
    tensors = (c.c_void_p * count)()
    try:
        for index, constant in enumerate(constants):
            dimensions = (c.c_int64 * len(constant.shape))(*constant.shape)
            tensor = library.TF_AllocateTensor(constant.dtype, dimensions, len(constant.shape), constant.size)
            tensors[index] = tensor
            _read(file, constant, library.TF_TensorData(tensor))
        feeds = (capi.Output * count)(*(capi.Output(_operation(graph, one, "value"), 0) for one in constants))
        targets = (c.c_void_p * count)(*(_operation(graph, one, "assign") for one in constants))
        run = capi.gil_released().TF_SessionRun
        run(session, None, feeds, tensors, count, None, None, 0, targets, count, None, status)
        capi.check()
    finally:
        for one in tensors:
            if one:
                library.TF_DeleteTensor(one)


def _read(file: FileIO, constant: LargeConstant, address: int) -> None:
    """Read the values of a constant to an address."""
    memory = memoryview((c.c_char * constant.size).from_address(address)).cast("B")
    file.seek(constant.offset)
    done = 0
    while count := file.readinto(memory[done:]):
        done += count
    if done != constant.size:
        raise ServingError(Code.DATA_LOSS, f"{SAVED_MODEL_FILE} changed while it was loaded")
