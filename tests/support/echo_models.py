"""SavedModels that return their inputs, written node by node: no TensorFlow, no training, no variables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfsctl.core import dtypes, protos

Shape = tuple[int | None, ...] | None
Inputs = Mapping[str, tuple[str, Shape]]  # name of an input and of the output it becomes -> dtype and shape

ECHO: dict[str, Inputs] = {
    "serving_default": {"x": ("float32", (None,))},
    "text": {"text": ("string", (None,))},
    "text_column": {"text": ("string", (None, 1))},
    "text_bytes": {"text_bytes": ("string", (None,))},
    "row": {"x": ("float32", (None, 3))},
    "scalar": {"x": ("float32", ())},
    "any": {"x": ("float32", None)},
    "two": {"area": ("float32", (None,)), "city": ("string", (None,))},
    **{dtype: {"x": (dtype, (None,))} for dtype in ("float64", "int8", "uint8", "int32", "int64", "bool", "float16")},
}


def echo_model_flags(folder: Path) -> list[str]:
    """Write version 7 of the model `echo` below a folder. Returns the flags of a server of this model."""
    write_echo_model(folder / "echo" / "7")
    return ["--model_name=echo", f"--model_base_path={folder / 'echo'}"]


def write_echo_model(version_dir: Path, signatures: Mapping[str, Inputs] | None = None) -> None:
    """Write one version: each signature returns its inputs under the same names."""
    saved = protos.SavedModel(saved_model_schema_version=1)
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.meta_info_def.tensorflow_version = "2.21.0"
    graph.graph_def.versions.producer = 2000
    for name, inputs in (ECHO if signatures is None else signatures).items():
        definition = graph.signature_def[name]
        definition.method_name = "tensorflow/serving/predict"
        for key, (dtype, shape) in inputs.items():
            number = dtypes.BY_NAME[dtype].number
            fed, answer = f"{name}_{key}", f"{name}_{key}_answer"
            node = graph.graph_def.node.add(name=fed, op="Placeholder")
            node.attr["dtype"].type = number
            _set_shape(node.attr["shape"].shape, shape)
            node = graph.graph_def.node.add(name=answer, op="Identity", input=[fed])
            node.attr["T"].type = number
            for infos, tensor in ((definition.inputs, fed), (definition.outputs, answer)):
                infos[key].name = f"{tensor}:0"
                infos[key].dtype = number
                _set_shape(infos[key].tensor_shape, shape)
    version_dir.mkdir(parents=True)
    (version_dir / "saved_model.pb").write_bytes(saved.SerializeToString())


def _set_shape(proto: Any, shape: Shape) -> None:
    if shape is None:
        proto.unknown_rank = True
        return
    proto.SetInParent()  # a scalar shape has no dim, and must still be there
    for size in shape:
        proto.dim.add(size=-1 if size is None else size)
