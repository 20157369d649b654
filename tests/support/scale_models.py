"""SavedModels whose answer tells which one it was: `y = factor * x`, at once or after a long computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.core import protos, tensors

_FLOAT, _INT32 = 1, 3


def write_scale_model(
    version_dir: Path, factor: float, *, matmul_size: int = 0, aborts: bool = False, aborts_on_load: bool = False
) -> None:
    """Write one version answering `factor * x` for float32 `x` [batch].

    With `matmul_size` n each run first multiplies two random n-by-n matrices, and adds nothing of it to the answer.
    With `aborts` it loads, and each run ends the process. With `aborts_on_load`, loading it does.
    """
    saved = protos.SavedModel(saved_model_schema_version=1)
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    nodes = graph.graph_def
    nodes.versions.producer = 2000
    placeholder = nodes.node.add(name="x", op="Placeholder")
    placeholder.attr["dtype"].type = _FLOAT
    placeholder.attr["shape"].shape.dim.add(size=-1)
    _constant(nodes, "factor", np.float32(factor))
    _binary(nodes, "y", "Mul", "x", "factor")
    answer = "y"
    if matmul_size:
        _constant(nodes, "size", np.array([matmul_size, matmul_size], np.int32))
        _constant(nodes, "both", np.array([0, 1], np.int32))
        _constant(nodes, "nothing", np.float32(0))
        random = nodes.node.add(name="random", op="RandomUniform", input=["size"])
        random.attr["dtype"].type, random.attr["T"].type = _FLOAT, _INT32
        _binary(nodes, "product", "MatMul", "random", "random")
        total = nodes.node.add(name="total", op="Sum", input=["product", "both"])
        total.attr["T"].type, total.attr["Tidx"].type = _FLOAT, _INT32
        _binary(nodes, "gone", "Mul", "total", "nothing")
        _binary(nodes, "late", "AddV2", "y", "gone")
        answer = "late"
    if aborts or aborts_on_load:
        nodes.node.add(name="abort", op="Abort").attr["error_msg"].s = b"as it should"
    if aborts_on_load:
        saved.meta_graphs[0].signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "abort"
    if aborts:
        next(node for node in nodes.node if node.name == "y").input.append("^abort")
    signature = graph.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, key, tensor in ((signature.inputs, "x", "x"), (signature.outputs, "y", answer)):
        infos[key].name, infos[key].dtype = f"{tensor}:0", _FLOAT
        infos[key].tensor_shape.dim.add(size=-1)
    version_dir.mkdir(parents=True)
    (version_dir / "saved_model.pb").write_bytes(saved.SerializeToString())


def _constant(nodes: Any, name: str, value: np.ndarray | np.float32) -> None:
    node = nodes.node.add(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tensors.to_proto(np.asarray(value)))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype


def _binary(nodes: Any, name: str, op: str, left: str, right: str) -> None:
    nodes.node.add(name=name, op=op, input=[left, right]).attr["T"].type = _FLOAT
