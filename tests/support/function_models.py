"""A SavedModel as TensorFlow 2 writes them: each signature is a call of a function, put together operation by operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.core import dtypes, protos, tensors

_FLOAT, _RESOURCE = dtypes.BY_NAME["float32"].number, 20


def write_function_model(version_dir: Path) -> None:
    """Write a version whose signatures take and give float32 [batch], `x` and `y`.

    serving_default answers x less the mean of all rows, so that a row too many would show; `checked` 1 / x, and fails
    for a 0; `filled` as many ones as x, of one value, says; `random` x, after making random numbers; `counted` how many
    different whole numbers its table was asked to keep so far.
    """
    saved = protos.SavedModel(saved_model_schema_version=1)
    meta_graph = saved.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    graph = meta_graph.graph_def
    graph.versions.producer = 2000
    table = graph.node.add(name="table", op="MutableHashTableV2")
    for key, dtype in (("key_dtype", "int64"), ("value_dtype", "int64")):
        table.attr[key].type = dtypes.BY_NAME[dtype].number
    for name, write in _FUNCTIONS.items():
        key = "serving_default" if name == "centred" else name
        has_table = name == "counted"
        write(_Function(graph.library.function.add(), name, has_table=has_table))
        placeholder = graph.node.add(name=f"{name}_x", op="Placeholder")
        placeholder.attr["dtype"].type = _FLOAT
        placeholder.attr["shape"].shape.dim.add(size=-1)
        call = graph.node.add(name=f"{name}_call", op="StatefulPartitionedCall", input=[f"{name}_x"])
        call.input.extend(["table"] * has_table)
        call.attr["f"].func.name = name
        call.attr["Tin"].list.type.extend([_FLOAT, _RESOURCE][: 1 + has_table])
        call.attr["Tout"].list.type.append(_FLOAT)
        signature = meta_graph.signature_def[key]
        signature.method_name = "tensorflow/serving/predict"
        for infos, alias, tensor in ((signature.inputs, "x", "x"), (signature.outputs, "y", "call")):
            infos[alias].name, infos[alias].dtype = f"{name}_{tensor}:0", _FLOAT
            infos[alias].tensor_shape.dim.add(size=-1)
    version_dir.mkdir(parents=True)
    (version_dir / "saved_model.pb").write_bytes(saved.SerializeToString())


class _Function:
    """A FunctionDef under construction, from `x` (and perhaps `table`) to `y`."""

    def __init__(self, definition: Any, name: str, *, has_table: bool) -> None:
        self._definition = definition
        definition.signature.name = name
        definition.signature.input_arg.add(name="x", type=_FLOAT)
        if has_table:
            definition.signature.input_arg.add(name="table", type=_RESOURCE)
        definition.signature.output_arg.add(name="y", type=_FLOAT)
        definition.signature.is_stateful = True

    def constant(self, name: str, value: Any) -> str:
        """A constant; what it is called as an input."""
        node = self._definition.node_def.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tensors.to_proto(np.asarray(value)))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
        return f"{name}:output:0"

    def op(self, op: str, name: str, output: str, *inputs: str, **attributes: Any) -> str:
        """An operation whose output is called so in its OpDef; what it is called as an input."""
        node = self._definition.node_def.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, bytes):
                node.attr[key].s = value
            else:
                node.attr[key].type = dtypes.BY_NAME[value].number
        return f"{name}:{output}:0"

    def give(self, tensor: str) -> None:
        """What the function answers."""
        self._definition.ret["y"] = tensor


def _centred(function: _Function) -> None:
    axis = function.constant("axis", np.array([0], np.int32))
    mean = function.op("Mean", "mean", "output", "x", axis, T="float32", Tidx="int32")
    function.give(function.op("Sub", "less", "z", "x", mean, T="float32"))


def _checked(function: _Function) -> None:
    one = function.constant("one", np.float32(1))
    inverse = function.op("RealDiv", "inverse", "z", one, "x", T="float32")
    function.give(
        function.op("CheckNumerics", "check", "output", inverse, T="float32", message=b"not a number to divide by")
    )


def _filled(function: _Function) -> None:
    shape = function.op("Cast", "shape", "y", "x", SrcT="float32", DstT="int32")
    one = function.constant("one", np.float32(1))
    function.give(function.op("Fill", "ones", "output", shape, one, T="float32", index_type="int32"))


def _random(function: _Function) -> None:
    shape = function.op("Shape", "shape", "output", "x", T="float32", out_type="int32")
    numbers = function.op("RandomUniform", "numbers", "output", shape, dtype="float32", T="int32")
    zero = function.constant("zero", np.float32(0))
    nothing = function.op("Mul", "nothing", "z", numbers, zero, T="float32")
    function.give(function.op("AddV2", "sum", "z", "x", nothing, T="float32"))


def _counted(function: _Function) -> None:
    key = function.op("Cast", "key", "y", "x", SrcT="float32", DstT="int64")
    function.op("LookupTableInsertV2", "insert", "", "table", key, key, Tin="int64", Tout="int64")
    size = function.op("LookupTableSizeV2", "size", "size", "table", "^insert")
    number = function.op("Cast", "number", "y", size, SrcT="int64", DstT="float32")
    shape = function.op("Shape", "shape", "output", "x", T="float32", out_type="int32")
    function.give(function.op("Fill", "all", "output", shape, number, T="float32", index_type="int32"))


_FUNCTIONS = {"centred": _centred, "checked": _checked, "filled": _filled, "random": _random, "counted": _counted}
