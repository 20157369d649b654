"""SavedModels put together operation by operation, for what the echo and scale models cannot show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gates import Gate

from tfsctl.core import dtypes, protos, tensors

Shape = Sequence[int] | None  # -1 for any size, None for any rank
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


class GraphModel:
    """A graph under construction; `write` makes a version of it."""

    def __init__(self, *tags: str) -> None:
        self._saved = protos.SavedModel(saved_model_schema_version=1)
        self.meta_graph = self._saved.meta_graphs.add()
        self.meta_graph.meta_info_def.tags.extend(tags or ["serve"])
        self._graph = self.meta_graph.graph_def
        self._graph.versions.producer = 2000

    def input(self, name: str, dtype: str = "float32", shape: Shape = (-1,)) -> str:
        """A placeholder."""
        node = self._graph.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = dtypes.BY_NAME[dtype].number
        _fill_shape(node.attr["shape"].shape, shape)
        return name

    def constant(self, name: str, value: Any) -> str:
        """A constant."""
        node = self._graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tensors.to_proto(np.asarray(value)))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
        return name

    def op(self, op: str, name: str, *inputs: str, **attributes: str | int | bool | list[int]) -> str:
        """An operation; an attribute given as text is a dtype, or with a leading `=` text itself."""
        node = self._graph.node.add(name=name, op=op, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, bool):
                node.attr[key].b = value
            elif isinstance(value, int):
                node.attr[key].i = value
            elif isinstance(value, list):
                node.attr[key].list.i.extend(value)
            elif value.startswith("="):
                node.attr[key].s = value[1:].encode()
            else:
                node.attr[key].type = dtypes.BY_NAME[value].number
        return name

    def gate(self, name: str, after: str, gate: Gate) -> str:
        """The float32 tensor `after`, once the gate is open."""
        self.constant(f"{name}_byte", np.array("x", object))
        waits: list[str] = []
        for pipe in (gate.begun, gate.go):
            write, path = f"{name}_{pipe.name}", f"{name}_{pipe.name}_path"
            self.constant(path, np.array(str(pipe), object))
            self.op("WriteFile", write, path, f"{name}_byte", f"^{after}", *waits)
            waits = [f"^{write}"]
        return self.op("Identity", name, after, *waits, T="float32")

    def slow(self, name: str, after: str, size: int) -> str:
        """The float32 tensor `after`, once two `size` by `size` matrices are multiplied."""
        self.constant(f"{name}_size", np.array([size, size], np.int32))
        self.constant(f"{name}_both", np.array([0, 1], np.int32))
        self.constant(f"{name}_zero", np.float32(0))
        self.op("RandomUniform", f"{name}_random", f"{name}_size", dtype="float32", T="int32")
        self.op("MatMul", f"{name}_product", f"{name}_random", f"{name}_random", T="float32")
        self.op("Sum", f"{name}_sum", f"{name}_product", f"{name}_both", T="float32", Tidx="int32")
        self.op("Mul", f"{name}_nothing", f"{name}_sum", f"{name}_zero", T="float32")
        return self.op("AddV2", name, after, f"{name}_nothing", T="float32")

    def signature(
        self,
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        *,
        name: str = "serving_default",
        method: str = PREDICT,
    ) -> None:
        """Name tensors of the graph: by alias, `tensor dtype` (default: float32)."""
        definition = self.meta_graph.signature_def[name]
        definition.method_name = method
        for infos, chosen in ((definition.inputs, inputs), (definition.outputs, outputs)):
            for alias, text in chosen.items():
                tensor, _, dtype = text.partition(" ")
                infos[alias].name = f"{tensor}:0"
                infos[alias].dtype = dtypes.BY_NAME[dtype or "float32"].number
                infos[alias].tensor_shape.unknown_rank = True

    def write(self, version_dir: Path) -> None:
        """Write one version."""
        version_dir.mkdir(parents=True, exist_ok=True)
        (version_dir / "saved_model.pb").write_bytes(self._saved.SerializeToString())


def _fill_shape(proto: Any, shape: Shape) -> None:
    if shape is None:
        proto.unknown_rank = True
        return
    proto.SetInParent()
    for size in shape:
        proto.dim.add(size=size)


def write_rows_model(version_dir: Path, *, slow: int = 0, gate: Gate | None = None) -> None:
    """Write a version whose answers tell what they ran with.

    serving_default answers `x` with `y` = x and `rows` = the rows of the run, for each row; `filtered` `y` alone.
    `slow` does so after multiplying large matrices, `gated` once the gate is open; `checked` answers 1 / x, and fails for a 0; `any` takes every
    shape; `pair` adds `a` and `b`; `total` has no row for each row, `twice` has two; `text` regresses and classifies
    strings by their length.
    """
    graph = GraphModel()
    graph.input("x")
    graph.op("Identity", "y", "x", T="float32")
    graph.op("Size", "size", "x", T="float32", out_type="int32")
    graph.op("Cast", "size_as_float", "size", SrcT="int32", DstT="float32")
    graph.op("Shape", "shape", "x", T="float32", out_type="int32")
    graph.op("Fill", "rows", "shape", "size_as_float", T="float32", index_type="int32")
    graph.signature({"x": "x"}, {"y": "y", "rows": "rows"})
    if slow:
        graph.input("slow_x")
        graph.slow("slow_y", "slow_x", slow)
        graph.signature({"x": "slow_x"}, {"y": "slow_y"}, name="slow")
    if gate:
        graph.input("gated_x")
        graph.gate("gated_y", "gated_x", gate)
        graph.signature({"x": "gated_x"}, {"y": "gated_y"}, name="gated")
    graph.input("checked_x")
    graph.constant("one", np.float32(1))
    graph.op("RealDiv", "inverse", "one", "checked_x", T="float32")
    graph.op("CheckNumerics", "checked", "inverse", T="float32", message="=not a number to divide by")
    graph.signature({"x": "checked_x"}, {"y": "checked"}, name="checked")
    graph.input("any_x", shape=None)
    graph.op("Identity", "any_y", "any_x", T="float32")
    graph.signature({"x": "any_x"}, {"y": "any_y"}, name="any")
    graph.input("a")
    graph.input("b")
    graph.op("AddV2", "sum", "a", "b", T="float32")
    graph.signature({"a": "a", "b": "b"}, {"y": "sum"}, name="pair")
    graph.constant("rows_axis", np.array([0], np.int32))
    graph.op("Sum", "total", "x", "rows_axis", T="float32", Tidx="int32")
    graph.signature({"x": "x"}, {"y": "total"}, name="total")
    graph.constant("axis", np.int32(0))
    graph.op("ConcatV2", "twice", "x", "x", "axis", N=2, T="float32", Tidx="int32")
    graph.signature({"x": "x"}, {"y": "twice"}, name="twice")
    graph.input("text", "string")
    graph.op("StringLength", "length", "text")
    graph.op("Cast", "length_as_float", "length", SrcT="int32", DstT="float32")
    graph.signature({"inputs": "text string"}, {"outputs": "length_as_float"}, name="text", method=REGRESS)
    graph.op("ExpandDims", "scores", "length_as_float", "axis_one", T="float32", Tdim="int32")
    graph.constant("axis_one", np.int32(1))
    graph.signature({"inputs": "text string"}, {"scores": "scores"}, name="kinds", method=CLASSIFY)
    graph.write(version_dir)
