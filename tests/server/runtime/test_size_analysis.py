"""What the sizes of a run's tensors depend on: constants and shapes, contents of strings, or values of the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_models import GraphModel

from tfsctl.core import dtypes, protos, tensors
from tfsctl.server.runtime.saved_model_file import read_meta_graph
from tfsctl.server.runtime.size_analysis import SizeAnalysis, Sizes

SHAPES, CONTENTS, VALUES = Sizes
Node = tuple[str, str, str]  # operation, name, and inputs
INPUT: Node = ("Placeholder", "x", "")


def node_def(node: Node, functions: Mapping[str, str]) -> protos.NodeDef:
    """A node. Constants are integers: the name is `const_VALUE`."""
    op, name, inputs = node
    message = protos.NodeDef(op=op, name=name, input=inputs.split())
    if op == "Const":
        value = int(name.rpartition("_")[2])
        message.attr["value"].tensor.CopyFrom(tensors.to_proto(np.array(value, np.int32)))
    for attribute, function in functions.items():
        message.attr[attribute].func.name = function
    return message


def sizes_of(
    nodes: Sequence[Node],
    output: str = "y",
    functions: Mapping[str, tuple[str, Sequence[Node], str]] | None = None,
    calls: Mapping[str, Mapping[str, str]] | None = None,
) -> Sizes:
    """What the sizes depend on. `functions` have arguments, nodes and results; `calls` are attributes of nodes."""
    analysis, calls = SizeAnalysis(), calls or {}
    for node in nodes:
        analysis.add_node(node_def(node, calls.get(node[1], {})))
    for name, (arguments, body, results) in (functions or {}).items():
        function = protos.FunctionDef()
        function.signature.name = name
        for argument in arguments.split():
            function.signature.input_arg.add(name=argument)
        for index, result in enumerate(results.split()):
            function.signature.output_arg.add(name=f"result_{index}")
            function.ret[f"result_{index}"] = result
        analysis.add_function(function)
        for node in body:
            analysis.add_node(node_def(node, calls.get(node[1], {})), name)
    return analysis.sizes([output])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("Relu", "y", "x")], SHAPES),
        ([("Const", "const_9", ""), ("Fill", "y", "const_9 x")], SHAPES),
        ([("Shape", "shape", "x"), ("Fill", "y", "shape x")], SHAPES),
        ([("Shape", "shape", "x"), ("Const", "const_9", ""), ("Mul", "m", "shape const_9"), ("Tile", "y", "x m")], SHAPES),
        ([("Fill", "y", "x x")], VALUES),
        ([("Relu", "relu", "x"), ("Fill", "fill", "relu x"), ("Sum", "y", "fill x")], VALUES),
        ([("Const", "const_9", ""), ("Range", "y", "const_9 x const_9")], VALUES),
        ([("Const", "const_9", ""), ("OneHot", "y", "x const_9 x x")], SHAPES),
        ([("Const", "const_9", ""), ("OneHot", "y", "const_9 x x x")], VALUES),
        ([("StringToNumber", "number", "x"), ("Cast", "cast", "number"), ("Fill", "y", "cast x")], VALUES),
        ([("Where", "y", "x")], CONTENTS),
        ([("Where", "where", "x"), ("Shape", "shape", "where"), ("Fill", "y", "shape x")], CONTENTS),
        ([("StringLength", "length", "x"), ("Max", "max", "length"), ("Fill", "y", "max x")], CONTENTS),
        ([("Const", "const_9", ""), ("StringSplitV2", "s", "x const_9"), ("SegmentSum", "y", "x s:0")], CONTENTS),
        ([("SegmentSum", "y", "x x")], VALUES),
        ([("Const", "const_9", ""), ("Minimum", "least", "x const_9"), ("Fill", "y", "least x")], CONTENTS),
        ([("Const", "const_9000000", ""), ("Minimum", "least", "x const_9000000"), ("Fill", "y", "least x")], VALUES),
        ([("DynamicStitch", "y", "x x")], VALUES),
        ([("RandomUniform", "y", "x")], VALUES),
        ([("Shape", "shape", "x"), ("RandomUniform", "random", "shape"), ("Fill", "y", "random x")], VALUES),
        ([("Relu", "relu", "x"), ("SomeOperation", "y", "relu")], VALUES),
        ([("DecodePng", "y", "x")], VALUES),
        ([("SomeOperation", "other", "x"), ("Relu", "y", "x")], SHAPES),
        ([("SomeOperation", "other", "x"), ("Relu", "y", "x ^other")], SHAPES),
        ([("Enter", "enter", "x"), ("Merge", "merge", "enter next"), ("NextIteration", "next", "merge"), ("Exit", "y", "merge")], VALUES),
        ([("Relu", "y", "missing")], VALUES),
        ([("SparseToDense", "y", "x")], VALUES),
    ],
)  # fmt: skip
def test_sizes_are_followed_through_operations(nodes: Sequence[Node], expected: Sizes) -> None:
    """Sizes from shapes and small constants, from lengths and counts, and from values."""
    assert sizes_of([INPUT, *nodes]) is expected


@pytest.mark.parametrize(("argument", "expected"), [("x", VALUES), ("shape", SHAPES), ("const_9", SHAPES)])
def test_sizes_are_followed_through_functions(argument: str, expected: Sizes) -> None:
    """A function is followed for each kind of arguments. The second result of the first one is the value of its argument."""
    nodes = [INPUT, ("Shape", "shape", "x"), ("Const", "const_9", ""), ("PartitionedCall", "call", f"x {argument}")]
    nodes += [("StatefulPartitionedCall", "y", "call:1")]
    functions = {
        "swap": ("a b", [("Relu", "relu", "a"), ("Identity", "same", "b")], "relu:activations:0 same:output:0"),
        "fill": ("n", [("Fill", "filled", "n n")], "filled:output:0"),
    }
    calls = {"call": {"f": "swap"}, "y": {"f": "fill"}}

    assert sizes_of(nodes, "y", functions, calls) is expected


@pytest.mark.parametrize(("condition", "expected"), [("const_9", SHAPES), ("x", VALUES)])
def test_sizes_are_followed_through_branches(condition: str, expected: Sizes) -> None:
    """The size of an output may be that of another branch, if a value chooses it."""
    nodes = [INPUT, ("Const", "const_9", ""), ("If", "y", f"{condition} const_9")]
    functions = {
        "one": ("n", [("Fill", "filled", "n n")], "filled:output:0"),
        "other": ("n", [("Relu", "relu", "n")], "relu:activations:0"),
    }
    calls = {"y": {"then_branch": "one", "else_branch": "other"}}

    found = sizes_of(nodes, "y", functions, calls)

    assert found is (SHAPES if expected is SHAPES else CONTENTS)


@pytest.mark.parametrize(
    ("limit", "expected"), [("const_9", SHAPES), ("size", SHAPES), ("x", VALUES), ("length", CONTENTS)]
)
def test_sizes_are_followed_through_loops(limit: str, expected: Sizes) -> None:
    """The number of iterations counts like a size."""
    nodes = [INPUT, ("Size", "size", "x"), ("StringLength", "length", "x"), ("Const", "const_9", "")]
    nodes += [("Const", "const_0", ""), ("While", "y", f"const_0 {limit}")]
    functions = {
        "again": ("i n", [("Less", "less", "i n")], "less:z:0"),
        "step": ("i n", [("Const", "const_1", ""), ("AddV2", "next", "i const_1:output:0")], "next:z:0 n"),
    }

    assert sizes_of(nodes, "y", functions, {"y": {"cond": "again", "body": "step"}}) is expected


def test_a_loop_that_makes_a_value_a_size() -> None:
    """What the loop carries is followed until nothing changes: the value arrives at the size after two iterations."""
    nodes = [INPUT, ("Const", "const_9", ""), ("While", "y", "const_9 const_9 const_9 x")]
    functions = {
        "again": ("i a b c", [("Const", "const_5", ""), ("Less", "less", "i const_5:output:0")], "less:z:0"),
        "step": ("i a b c", [("Fill", "filled", "a a"), ("AddV2", "next", "i i")], "next:z:0 b c c"),
    }

    assert sizes_of(nodes, "y", functions, {"y": {"cond": "again", "body": "step"}}) is VALUES


def test_graphs_that_are_too_large() -> None:
    """They are not followed: functions that call the next one twice, and very many nodes."""
    depth = 40
    functions = {
        f"f{index}": ("n", [("PartitionedCall", f"a{index}", "n"), ("PartitionedCall", f"b{index}", "n")], f"a{index}:output:0")
        for index in range(depth)
    }  # fmt: skip
    functions[f"f{depth}"] = ("n", [("Relu", "relu", "n")], "relu:activations:0")
    calls = {f"{name}{index}": {"f": f"f{index + 1}"} for index in range(depth) for name in "ab"}
    nodes = [INPUT, ("PartitionedCall", "y", "x")]
    many = [("Relu", f"n{index}", f"n{index - 1}" if index else "x") for index in range(60_000)]

    assert sizes_of(nodes, "y", functions, {**calls, "y": {"f": "f0"}}) is SHAPES
    assert sizes_of([INPUT, *many[:10_000]], "n9999") is SHAPES
    assert sizes_of([INPUT, *many], "n0") is VALUES


def test_strings_and_examples() -> None:
    """A string may be copied many times, and sparse features have any number of values."""
    analysis = SizeAnalysis()
    analysis.add_node(node_def(INPUT, {}))
    for name, dtype in (("numbers", "float32"), ("strings", "string")):
        node = node_def(("GatherV2", name, "x x x"), {})
        node.attr["Tparams"].type = dtypes.BY_NAME[dtype].number
        analysis.add_node(node)
    for name, sparse in (("dense", 0), ("sparse", 1)):
        node = node_def(("ParseExampleV2", name, "x x x x x"), {})
        node.attr["num_sparse"].i = sparse
        analysis.add_node(node)

    found = [analysis.sizes([name]) for name in ("numbers", "strings", "dense", "sparse")]

    assert found == [SHAPES, CONTENTS, SHAPES, CONTENTS]


def test_signatures_of_a_file(tmp_path: Path) -> None:
    """Each signature for itself."""
    model = GraphModel()
    model.input("x", "int32")
    model.op("Fill", "filled", "x", "x", T="int32", index_type="int32")
    model.op("Relu", "relu", "x", T="int32")
    for name, output in (("sized", "filled"), ("plain", "relu")):
        model.signature({"x": "x int32"}, {"y": f"{output} int32"}, name=name)
    model.write(tmp_path)
    found: Any = read_meta_graph(tmp_path, ["serve"])

    assert found.sizes == {"sized": VALUES, "plain": SHAPES}
