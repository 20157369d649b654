"""Large constants are loaded as variables, and models give the same answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graph_models import GraphModel

from tfsctl.core import protos, tensors
from tfsctl.server.runtime import large_constants, session
from tfsctl.server.runtime.session import Session
from tfsctl.server.status import ServingError

pytestmark = pytest.mark.tensorflow

VALUES = np.arange(5000, dtype=np.float32)
SMALL_GRAPH_BYTES = 16 * 1024


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat constants of 4 KiB as large ones."""
    monkeypatch.setattr(large_constants, "_MIN_BYTES", 4 * 1024)
    monkeypatch.setattr(session, "MIN_GRAPH_BYTES", SMALL_GRAPH_BYTES)


@pytest.fixture
def splits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of constants of each version that was loaded as a split model."""
    found: list[int] = []
    assign = large_constants.SplitModel.assign

    def counted(self: large_constants.SplitModel, running: int, graph: int, original: Path) -> None:
        assign(self, running, graph, original)
        found.append(len(self.constants))

    monkeypatch.setattr(large_constants.SplitModel, "assign", counted)
    return found


def answer(directory: Path, value: float = 2.0) -> list[float]:
    """The answer of the only signature."""
    loaded = Session(directory)
    bound = loaded.signature("serving_default")
    assert bound is not None
    try:
        for _ in range(2):  # TensorFlow optimizes the graph at the first run
            (array,) = loaded.run([(bound.inputs["x"], np.full(1, value, np.float32))], bound.fetches)
    finally:
        loaded.close()
    found: list[float] = array.tolist()
    return found


def table_model() -> GraphModel:
    """A graph that multiplies x by the last value of a large constant, which has a control input."""
    model = GraphModel()
    model.input("x")
    model.constant("large", VALUES)
    model.constant("index", np.array(4999, np.int32))
    model.constant("axis", np.array(0, np.int32))
    model.op("GatherV2", "last", "large", "index", "axis", Tparams="float32", Tindices="int32", Taxis="int32")
    model.op("Mul", "y", "x", "last", T="float32")
    model.signature({"x": "x"}, {"y": "y"})
    model.meta_graph.graph_def.node[1].input.append("^x")
    return model


def add_function(model: GraphModel, dtype: type = np.float32) -> None:
    """Add a function with a large constant of its own, whose sum is added to y."""
    graph = model.meta_graph.graph_def
    function = graph.library.function.add()
    function.signature.name = "total"
    function.signature.output_arg.add(name="t", type=1)
    for name, value in (("values", VALUES.astype(dtype)), ("axes", np.array([0], np.int32))):
        node = function.node_def.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tensors.to_proto(value))
        node.attr["dtype"].type = node.attr["value"].tensor.dtype
    cast = function.node_def.add(name="cast", op="Cast", input=["values:output:0"])
    cast.attr["SrcT"].type, cast.attr["DstT"].type = tensors.to_proto(VALUES.astype(dtype)).dtype, 1
    total = function.node_def.add(name="sum", op="Sum", input=["cast:y:0", "axes:output:0"])
    total.attr["T"].type, total.attr["Tidx"].type = 1, 3
    function.ret["t"] = "sum:output:0"
    call = graph.node.add(name="call", op="PartitionedCall")
    call.attr["f"].func.name = "total"
    call.attr["Tin"].list.SetInParent()
    call.attr["Tout"].list.type.append(1)
    model.op("AddV2", "sum", "y", "call", T="float32")
    model.meta_graph.signature_def["serving_default"].outputs["y"].name = "sum:0"


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.float64])
def test_large_constants_of_graph_and_functions_keep_their_values(
    dtype: type, tmp_path: Path, splits: list[int]
) -> None:
    """Both have the values that they had."""
    model = table_model()
    add_function(model, dtype)
    model.write(tmp_path)

    total = float(VALUES.astype(dtype).astype(np.float32).sum())

    assert answer(tmp_path) == pytest.approx([2 * 4999 + total], rel=1e-4)
    assert splits == [2]


def test_constants_of_two_meta_graphs_are_not_mixed_up(tmp_path: Path, splits: list[int]) -> None:
    model = table_model()
    model.write(tmp_path)
    file = tmp_path / "saved_model.pb"
    saved = protos.SavedModel.FromString(file.read_bytes())
    other = saved.meta_graphs.add()
    other.CopyFrom(saved.meta_graphs[0])
    other.meta_info_def.tags[:] = ["train"]
    other.graph_def.node[1].attr["value"].tensor.CopyFrom(tensors.to_proto(VALUES * 0))
    file.write_bytes(saved.SerializeToString())

    assert answer(tmp_path) == [2 * 4999]
    assert splits == [2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_as_numbers(dtype: type, tmp_path: Path, splits: list[int]) -> None:
    """Constants in float_val and double_val, and an empty directory of assets, which TensorFlow writes too."""
    model = table_model()
    add_function(model, dtype)
    for node in (model.meta_graph.graph_def.node[1], model.meta_graph.graph_def.library.function[0].node_def[0]):
        tensor = node.attr["value"].tensor
        tensor.ClearField("tensor_content")
        (tensor.double_val if tensor.dtype == 2 else tensor.float_val).extend(VALUES.tolist())
    model.write(tmp_path)
    (tmp_path / "assets").mkdir()

    assert answer(tmp_path) == pytest.approx([2 * 4999 + float(VALUES.sum())], rel=1e-4)
    assert splits == [2]


def test_numbers_of_another_dtype(tmp_path: Path, splits: list[int]) -> None:
    """The bytes of double_val are not those of a tensor of int64, even if there are as many: TensorFlow reads zeros."""
    model = table_model()
    add_function(model, np.int64)
    tensor = model.meta_graph.graph_def.library.function[0].node_def[0].attr["value"].tensor
    tensor.ClearField("tensor_content")
    tensor.double_val.extend(VALUES.tolist())
    model.write(tmp_path)

    assert answer(tmp_path) == [2 * 4999]
    assert splits == [1]


@pytest.mark.parametrize("is_large", [False, True])
def test_filters_stay_constants_in_small_graphs(
    is_large: bool, tmp_path: Path, splits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constant with the rank of a filter becomes a variable in a large graph only."""
    monkeypatch.setattr(large_constants, "_MIN_GRAPH_BYTES_OF_FILTERS", SMALL_GRAPH_BYTES * (1 if is_large else 1000))
    model = table_model()
    model.meta_graph.graph_def.node[1].attr["value"].tensor.CopyFrom(tensors.to_proto(VALUES.reshape(5000, 1, 1, 1)))
    model.write(tmp_path)

    assert np.ravel(answer(tmp_path)).tolist() == [2 * 4999]
    assert splits == [1] * is_large


@pytest.mark.parametrize("op", ["Placeholder", "Const"])
def test_assets_are_read_from_the_original_directory(op: str, tmp_path: Path, splits: list[int]) -> None:
    """A graph may read them while it is loaded, and at each request."""
    model = table_model()
    if op == "Const":
        model.constant("path", np.array("somewhere else", object))
    else:
        model.input("path", "string", ())
    asset = model.meta_graph.asset_file_def.add(filename="wörds.txt")
    asset.tensor_info.name = "path:0"
    model.op("ReadFile", "words", "path")
    model.op("StringLength", "length", "words")
    model.op("Cast", "size", "length", SrcT="int32", DstT="float32")
    model.op("AddV2", "sum", "y", "size", T="float32")
    model.meta_graph.signature_def["serving_default"].outputs["y"].name = "sum:0"
    initializer = model.meta_graph.signature_def["__saved_model_init_op"]
    initializer.outputs["__saved_model_init_op"].name = "words"
    model.write(tmp_path)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "wörds.txt").write_text("abc")

    assert answer(tmp_path) == [2 * 4999 + 3]
    assert splits == [1]


def test_an_asset_without_a_node(tmp_path: Path, splits: list[int]) -> None:
    """Such a version is left to TensorFlow, which says what is wrong."""
    model = table_model()
    model.meta_graph.asset_file_def.add(filename="words.txt").tensor_info.name = "missing:0"
    model.op("NoOp", "nothing")
    initializer = model.meta_graph.signature_def["__saved_model_init_op"]
    initializer.outputs["__saved_model_init_op"].name = "nothing"
    model.write(tmp_path)

    with pytest.raises(ServingError, match="missing"):
        answer(tmp_path)
    assert splits == []


def test_a_constant_with_control_inputs_in_a_function_and_in_the_graph(tmp_path: Path, splits: list[int]) -> None:
    """Each of three constants has the values that it had."""
    model = table_model()
    add_function(model)
    model.constant("other", VALUES + 1)
    model.op("GatherV2", "other_last", "other", "index", "axis", Tparams="float32", Tindices="int32", Taxis="int32")
    model.op("AddV2", "sum2", "sum", "other_last", T="float32")
    model.meta_graph.signature_def["serving_default"].outputs["y"].name = "sum2:0"
    model.write(tmp_path)

    assert answer(tmp_path) == pytest.approx([2 * 4999 + float(VALUES.sum()) + 5000])
    assert splits == [3]


@pytest.mark.parametrize("reason", ["small", "init"])
def test_small_graphs_are_loaded_unchanged(reason: str, tmp_path: Path, splits: list[int]) -> None:
    """So is a graph whose initialization reads the constant."""
    model = table_model()
    if reason == "init":
        del model.meta_graph.graph_def.node[1].input[:]
        model.op("Identity", "read", "large", T="float32")
        initializer = model.meta_graph.signature_def["__saved_model_init_op"]
        initializer.outputs["__saved_model_init_op"].name = "read"
    if reason == "small":
        model.meta_graph.graph_def.node[1].attr["value"].tensor.CopyFrom(tensors.to_proto(VALUES[:3]))
        model.meta_graph.graph_def.node[2].attr["value"].tensor.int_val[:] = [2]
    model.write(tmp_path)

    last = 2 if reason == "small" else 4999

    assert answer(tmp_path) == [2 * last]
    assert splits == []


PEAK = """
import re, sys
from pathlib import Path
import numpy as np
from tfsctl.server.runtime.session import Session

def run(directory):
    session = Session(Path(directory))
    bound = session.signature("serving_default")
    session.run([(bound.inputs["x"], np.ones(1, np.float32))], bound.fetches)

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

run(sys.argv[1])  # TensorFlow starts
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
before = kilobytes("VmRSS")
run(sys.argv[2])
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_of_many_constants(tmp_path: Path) -> None:
    """96 MB in constants of 512 KB: loading them and the first request take less than twice their size."""
    count, values = 192, np.zeros((128, 1024), np.float32)
    for name, constants in (("small", 1), ("large", count)):
        model = GraphModel()
        last = model.input("x")
        model.constant("index", np.array([0, 0], np.int32))
        for number in range(constants):
            model.constant(f"large{number}", values)
            model.op("GatherNd", f"one{number}", f"large{number}", "index", Tparams="float32", Tindices="int32")
            last = model.op("AddV2", f"sum{number}", last, f"one{number}", T="float32")
        model.signature({"x": "x"}, {"y": last})
        model.write(tmp_path / name)

    argv = [sys.executable, "-c", PEAK, str(tmp_path / "small"), str(tmp_path / "large")]
    peak = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    assert peak < 2 * count * values.nbytes
