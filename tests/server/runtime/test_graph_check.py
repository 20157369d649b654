"""Graphs on which TensorFlow would abort the process are refused before TensorFlow sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.wire_format import fields, without_large_contents
from tfsctl.server.runtime import function_calls
from tfsctl.server.runtime.saved_model_file import read_meta_graph
from tfsctl.server.status import UnsafeVersionError

HUGE = "tensor_shape { dim { size: 1099511627776 } dim { size: 1099511627776 } }"
HUGE_SHAPE = "shape { dim { size: 4611686018427387904 } dim { size: 4 } }"
CONSTANT = "tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: 1 }"


def saved_model(graph: str) -> protos.SavedModel:
    """A SavedModel with this GraphDef (in text form)."""
    message = protos.SavedModel(saved_model_schema_version=1)
    meta_graph = message.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    text_format.Merge(graph, meta_graph.graph_def)
    return message


def write_graph(directory: Path, graph: str) -> Path:
    """Write a SavedModel with this GraphDef (in text form)."""
    (directory / "saved_model.pb").write_bytes(saved_model(graph).SerializeToString())
    return directory


def constant(value: str, name: str = "c") -> str:
    """A node with one attribute."""
    return f'node {{ name: "{name}" op: "Const" attr {{ key: "value" value {{ {value} }} }} }}'


def function(name: str, *nodes: str) -> str:
    """A function of the library."""
    inner = " ".join(node.replace("node {", "node_def {", 1) for node in nodes)
    return f'library {{ function {{ signature {{ name: "{name}" }} {inner} }} }}'


def call(*functions: str, op: str = "PartitionedCall") -> str:
    """Nodes that call functions."""
    return " ".join(
        f'node {{ name: "to_{name}" op: "{op}" attr {{ key: "f" value {{ func {{ name: "{name}" }} }} }} }}'
        for name in functions
    )


def chain(count: int) -> list[protos.NodeDef]:
    """Nodes of which each reads the one before."""
    inputs = ["x", *(f"n{i}:output:0" for i in range(count - 1))]
    return [protos.NodeDef(name=f"n{i}", op="Identity", input=[name]) for i, name in enumerate(inputs)]


COUNTED = 'library { function { signature { name: "f" input_arg { name: "x" type: DT_FLOAT number_attr: "M" } } } } '
UNSAFE = {
    "strides of 0": 'node { name: "c" op: "Conv2DBackpropFilter" attr { key: "strides" value { list { i: 1 i: 0 } } } }',
    "a function of a negative number of inputs": COUNTED
    + 'node { name: "c" op: "f" attr { key: "M" value { i: -5 } } }',
    "a call with a negative number of inputs": COUNTED
    + 'node { name: "c" op: "PartitionedCall" attr { key: "f" value { func { name: "f" attr { key: "M" value { i: -5 } } } } } }',
    "a function of billions of inputs by default": (
        'library { function { signature { name: "f" input_arg { name: "x" type: DT_FLOAT number_attr: "M" } '
        'attr { name: "M" type: "int" default_value { i: 2147483647 } } } } }'
    ),
    "a constant too large": constant(f"tensor {{ dtype: DT_FLOAT {HUGE} }}"),
    "a constant too large in a function": function("f", constant(f"tensor {{ dtype: DT_FLOAT {HUGE} }}")),
    "one of a list of tensors": constant(f"list {{ tensor {{ dtype: DT_FLOAT {HUGE} }} }}"),
    "a constant of a negative size": constant(
        "tensor { dtype: DT_FLOAT tensor_shape { dim { size: -5 } } float_val: 1 }"
    ),
    "a constant without a rank": constant("tensor { dtype: DT_FLOAT tensor_shape { unknown_rank: true } }"),
    "a constant that claims a terabyte": constant(
        "tensor { dtype: DT_FLOAT tensor_shape { dim { size: 274877906944 } } float_val: 1 }"
    ),
    "strings that claim a terabyte": constant("tensor { dtype: DT_STRING tensor_shape { dim { size: 68719476736 } } }"),
    "constants that claim it together": " ".join(
        constant("tensor { dtype: DT_FLOAT tensor_shape { dim { size: 274877906 } } float_val: 1 }", name=f"c{i}")
        for i in range(1000)
    ),
    "a tensor within a variant": constant(
        f"tensor {{ dtype: DT_VARIANT variant_val {{ tensors {{ dtype: DT_FLOAT {HUGE} }} }} }}"
    ),
    "a shape within a resource handle": constant(
        "tensor { dtype: DT_RESOURCE resource_handle_val { dtypes_and_shapes { dtype: DT_FLOAT "
        "shape { dim { size: -9 } } } } }"
    ),
    "a shape too large": constant(HUGE_SHAPE),
    "one of a list of shapes": constant(f"list {{ {HUGE_SHAPE} }}"),
    "a shape of a negative size": constant("shape { dim { size: -2 } }"),
    "a shape of 300 dimensions": constant(f"shape {{ {'dim { size: 1 } ' * 300} }}"),
    "an unknown dtype": constant("type: 9999"),
    "an unknown dtype in a list": constant("list { type: 9999 }"),
    "an unknown dtype of a tensor": constant("tensor { dtype: 9999 }"),
    "an attribute of a called function": constant(f'func {{ name: "f" attr {{ key: "s" value {{ {HUGE_SHAPE} }} }} }}'),
    "a function's default value": (
        f'library {{ function {{ signature {{ name: "f" attr {{ name: "s" default_value {{ {HUGE_SHAPE} }} }} }} }} }}'
    ),
    "a function's attribute": (
        f'library {{ function {{ signature {{ name: "f" }} attr {{ key: "s" value {{ {HUGE_SHAPE} }} }} }} }}'
    ),
    "an argument's attribute": (
        'library { function { signature { name: "f" } arg_attr { key: 0 value { '
        f'attr {{ key: "s" value {{ {HUGE_SHAPE} }} }} }} }} }} }}'
    ),
    "a fill of too many elements": constant(
        "tensor { dtype: DT_INT64 tensor_shape { dim { size: 2 } } int64_val: 1099511627776 }", name="dims"
    )
    + ' node { name: "fill" op: "Fill" input: "dims:0" input: "v" }',
    "billions of outputs": 'node { name: "s" op: "Split" attr { key: "num_split" value { i: 2147483647 } } }',
    "a loop of a negative number of iterations": (
        'node { name: "s" op: "Enter" attr { key: "parallel_iterations" value { i: -7 } } }'
    ),
    "an input of too large a number": 'node { name: "s" op: "Identity" input: "x:2147483648" }',
    "a function that calls itself": function("f", call("f")) + call("f"),
    "functions that call each other": function("f", call("g")) + function("g", call("f")) + call("f"),
    "a direct call of itself": function("f", 'node { name: "c" op: "f" }') + call("f"),
    "a branch that calls itself": function("f", call("f", op="If")) + call("f"),
    "an Identity without an input": 'node { name: "i" op: "Identity" input: "^x" }',
    "a Switch without an input in a function": function("f", 'node { name: "s" op: "Switch" }'),
    "a constant of two dtypes": (
        'node { name: "c" op: "Const" attr { key: "dtype" value { type: DT_INT32 } } '
        f'attr {{ key: "value" value {{ {CONSTANT} }} }} }}'
    ),
    "a call with fewer outputs than its function": (
        'library { function { signature { name: "f" output_arg { name: "y" type: DT_FLOAT } } } } '
        'node { name: "c" op: "PartitionedCall" attr { key: "f" value { func { name: "f" } } } '
        'attr { key: "Tout" value { list { } } } }'
    ),
    "a branch with outputs of other dtypes": (
        'library { function { signature { name: "g" output_arg { name: "y" type: DT_FLOAT } } } } '
        'node { name: "i" op: "If" attr { key: "else_branch" value { func { name: "g" } } } '
        'attr { key: "Tout" value { list { type: DT_INT32 } } } }'
    ),
    "calls more than a thousand levels deep": "".join(function(f"f{i}", call(f"f{i + 1}")) for i in range(1100))
    + call("f0"),
    "calls that double forty times": "".join(function(f"f{i}", call(f"f{i + 1}"), call(f"f{i + 1}")) for i in range(40))
    + function("f40", constant(CONSTANT))
    + call("f0"),
}


@pytest.mark.parametrize("graph", UNSAFE.values(), ids=UNSAFE.keys())
def test_unsafe_graphs_are_refused(graph: str, tmp_path: Path) -> None:
    """In binary and in text form."""
    message = saved_model(graph)
    (tmp_path / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(UnsafeVersionError, match="could end the server"):
        read_meta_graph(tmp_path, ["serve"])

    (tmp_path / "saved_model.pb").unlink()
    (tmp_path / "saved_model.pbtxt").write_bytes(text_format.MessageToBytes(message))
    with pytest.raises(UnsafeVersionError, match="could end the server"):
        read_meta_graph(tmp_path, ["serve"])


LONG_CHAIN = 20_100
CHAIN_BEYOND_2000 = 2_100  # for tests that lower the limit: graphs of 20,000 nodes take long to write


@pytest.fixture
def _limit_of_2000(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower limit of nodes in a chain, which is still more than Python's recursion limit."""
    monkeypatch.setattr(function_calls, "_MAX_CHAIN", 2000)


def test_a_chain_of_nodes_that_is_too_long_is_refused(tmp_path: Path) -> None:
    model = saved_model("")
    model.meta_graphs[0].graph_def.node.extend(chain(LONG_CHAIN))
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())

    with pytest.raises(UnsafeVersionError, match="it has a chain of 20100 nodes"):
        read_meta_graph(tmp_path, ["serve"])


@pytest.mark.usefixtures("_limit_of_2000")
@pytest.mark.parametrize("functions", [1, 201])
def test_a_chain_in_functions_that_is_too_long_is_refused(functions: int, tmp_path: Path) -> None:
    """In one function, or across functions of which each calls the next one at the end of its chain."""
    last = functions - 1
    calls = "".join(function(f"f{i}", call(f"f{i + 1}")) for i in range(last))
    model = saved_model(calls + function(f"f{last}") + call("f0"))
    for part in model.meta_graphs[0].graph_def.library.function:
        nodes = chain(CHAIN_BEYOND_2000 // functions)
        for node in part.node_def:
            node.input.append(f"{nodes[-1].name}:output:0")
        part.node_def.extend(nodes)
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())

    with pytest.raises(UnsafeVersionError, match=r"it has a chain of 2[0-3]\d{2} nodes"):
        read_meta_graph(tmp_path, ["serve"])


@pytest.mark.usefixtures("_limit_of_2000")
def test_many_nodes_that_do_not_depend_on_each_other_pass(tmp_path: Path) -> None:
    model = saved_model("")
    nodes = (protos.NodeDef(name=f"n{i}", op="Identity", input=["x"]) for i in range(CHAIN_BEYOND_2000))
    model.meta_graphs[0].graph_def.node.extend(nodes)
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())

    assert read_meta_graph(tmp_path, ["serve"]) is not None


SAFE = {
    "a constant": constant(CONSTANT),
    "a loop": 'node { name: "m" op: "Merge" input: "x" input: "n" } node { name: "n" op: "NextIteration" input: "m" }',
    "a negative number that counts nothing": (
        'node { name: "c" op: "PartitionedCall" attr { key: "f" value { func { name: "f" attr { key: "M" value { i: -5 } } } } } }'
    ),
    "an empty constant": constant("tensor { dtype: DT_FLOAT tensor_shape { dim { size: 0 } dim { size: 7 } } }"),
    "a partly unknown shape": constant("shape { dim { size: -1 } dim { size: 224 } }"),
    "a shape of unknown rank": constant("shape { unknown_rank: true }"),
    "a reference dtype": constant("type: DT_FLOAT_REF"),
    "functions that share one": function("f", call("h"))
    + function("g", call("h"))
    + function("h", constant(CONSTANT))
    + call("f", "g"),
    "a function that calls itself but is not used": function("f", call("f")),
    "a part of a value": constant(
        r'tensor { dtype: DT_INT32 tensor_shape { dim { size: 1 } } tensor_content: "\001\002\003" }'
    ),
    "a call with the outputs of its function": (
        'library { function { signature { name: "f" output_arg { name: "y" type: DT_FLOAT } } } } '
        'node { name: "c" op: "PartitionedCall" attr { key: "f" value { func { name: "f" } } } '
        'attr { key: "Tout" value { list { type: DT_FLOAT } } } }'
    ),
    "an operation without inputs": 'node { name: "n" op: "NoOp" }',
    "a small fill": constant("tensor { dtype: DT_INT32 tensor_shape { dim { size: 3 } } int_val: 2 }", name="dims")
    + ' node { name: "fill" op: "Fill" input: "dims" input: "v" }',
}


@pytest.mark.parametrize("graph", SAFE.values(), ids=SAFE.keys())
def test_usual_graphs_pass(graph: str, tmp_path: Path) -> None:
    """Graphs that TensorFlow loads are not refused."""
    assert read_meta_graph(write_graph(tmp_path, graph), ["serve"]) is not None


def test_a_message_in_two_parts_is_merged(tmp_path: Path) -> None:
    """Protobuf merges a field that occurs twice, and so does the check."""
    graph = protos.GraphDef()
    node = protos.NodeDef(name="c", op="Const")
    node.attr["value"].tensor.dtype = 1
    graph.node.add().CopyFrom(node)
    more = protos.NodeDef(name="d", op="Const")
    more.attr["value"].tensor.tensor_shape.dim.add(size=-3)
    parts = [part.SerializeToString() for part in (graph, protos.GraphDef(node=[more]))]
    meta = b"".join(b"\x12" + bytes([len(part)]) + part for part in parts)
    (tmp_path / "saved_model.pb").write_bytes(b"\x12" + bytes([len(meta)]) + meta)

    with pytest.raises(UnsafeVersionError, match="node d"):
        read_meta_graph(tmp_path, ["serve"])


def test_large_contents_are_left_out_of_the_check(tmp_path: Path) -> None:
    """The shape of a large tensor is checked, its values are not copied."""
    model = protos.SavedModel()
    graph = model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    tensor = graph.graph_def.node.add(name="c", op="Const").attr["value"].tensor
    tensor.dtype = 1
    tensor.tensor_content = bytes(1_000_000)
    tensor.tensor_shape.dim.add(size=250_000)
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    found = read_meta_graph(tmp_path, ["serve"])

    assert found is not None
    assert found.graph_bytes > 1_000_000
    node = memoryview(graph.graph_def.node[0].SerializeToString())
    assert len(without_large_contents(node, protos.NodeDef.DESCRIPTOR)) < 100

    tensor.tensor_shape.dim[0].size = -1
    (tmp_path / "saved_model.pb").write_bytes(model.SerializeToString())
    with pytest.raises(UnsafeVersionError):
        read_meta_graph(tmp_path, ["serve"])


def test_unreadable_files_are_left_to_tensorflow(tmp_path: Path) -> None:
    """It has its own errors for a missing or damaged file, and for tags that no graph has."""
    assert read_meta_graph(tmp_path, ["serve"]) is None
    (tmp_path / "saved_model.pb").write_bytes(b"\x12\xff\xff")
    assert read_meta_graph(tmp_path, ["serve"]) is None
    assert read_meta_graph(write_graph(tmp_path, ""), ["train"]) is None


def test_a_file_whose_rest_is_zeros(tmp_path: Path) -> None:
    """It is damaged at the first zero: walking through a gigabyte of them would take minutes."""
    with pytest.raises(DecodeError, match="field number 0 at byte 2"):
        list(fields(b"\x08\x01" + bytes(1000)))

    write_graph(tmp_path, constant(CONSTANT))
    os.truncate(tmp_path / "saved_model.pb", 10_000)
    assert read_meta_graph(tmp_path, ["serve"]) is None


def test_text_that_is_nested_too_deep(tmp_path: Path) -> None:
    """TensorFlow would read it recursively."""
    (tmp_path / "saved_model.pbtxt").write_text(
        "meta_graphs { graph_def { node { attr { value { " + "func { attr { value { " * 100_000
    )
    with pytest.raises(UnsafeVersionError, match="nested too deep"):
        read_meta_graph(tmp_path, ["serve"])


@pytest.mark.parametrize("op", ["Conv2D", "LSTMBlockCell", "TensorScatterAdd", "FakeQuantWithMinMaxVarsPerChannel"])
def test_graphs_that_need_ranks(op: str, tmp_path: Path) -> None:
    """The check tells whether the graph has an operation that ends the process for a tensor of another rank."""
    convolution = write_graph(tmp_path, function("f", f'node {{ name: "c" op: "{op}" }}'))
    found = read_meta_graph(convolution, ["serve"])
    assert found is not None
    assert found.needs_ranks

    found = read_meta_graph(write_graph(tmp_path, constant(CONSTANT)), ["serve"])
    assert found is not None
    assert not found.needs_ranks


def test_pipes_and_too_large_files_are_not_read(tmp_path: Path) -> None:
    """A pipe has no end, and a file too large for a message is left to TensorFlow."""
    os.mkfifo(tmp_path / "saved_model.pb")
    with pytest.raises(UnsafeVersionError, match="not a regular file"):
        read_meta_graph(tmp_path, ["serve"])

    (tmp_path / "saved_model.pb").unlink()
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    assert read_meta_graph(tmp_path, ["serve"]) is None
