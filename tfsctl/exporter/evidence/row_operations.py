"""Whether the operations of a signature can let the rows of a batch affect each other.

Runs on synthetic rows show only what those rows happen to reach. They are evidence if the graph is also made of
operations that treat each row alone: then no other input can behave differently. This module decides that.

A tensor that depends on the inputs must keep the batch as its first dimension, of unknown size. TensorFlow records the
shapes in the attribute `_output_shapes` of each node. Operations that can mix rows without changing the first
dimension (sorting, cumulative sums, loops, …) are not in the tables here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.graphs.signature_graph import SignatureGraph
from tfsctl.core.types import Shape

# Operations whose outputs do not depend on the values of the rows: constants, variables, and the sizes of tensors.
_NO_ROWS = {
    *("Const", "NoOp", "VarHandleOp", "VariableV2", "ReadVariableOp", "HashTableV2", "MutableHashTableV2"),
    *("Shape", "ShapeN", "Size", "Rank", "LookupTableSizeV2"),
}
# Operations that compute each element, or each row, from that row only.
_EACH_ROW = {
    *("Placeholder", "PlaceholderWithDefault", "Identity", "StopGradient", "PreventGradient", "Snapshot"),
    *("EnsureShape", "Cast", "Bitcast", "CheckNumerics"),
    *(
        "Abs",
        "Neg",
        "Sign",
        "Square",
        "Sqrt",
        "Rsqrt",
        "Reciprocal",
        "Inv",
        "Exp",
        "Expm1",
        "Log",
        "Log1p",
        "Sin",
        "Cos",
    ),
    *("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh", "Erf", "Erfc", "Sigmoid"),
    *("Lgamma", "Digamma", "Floor", "Ceil", "Round", "Rint", "Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Softplus"),
    *("Softsign", "IsNan", "IsInf", "IsFinite", "LogicalNot", "Invert", "ZerosLike", "OnesLike", "Real", "Imag"),
    *("Add", "AddV2", "AddN", "Sub", "Mul", "MulNoNan", "Div", "DivNoNan", "RealDiv", "TruncateDiv", "FloorDiv"),
    *("FloorMod", "Mod", "TruncateMod", "Maximum", "Minimum", "Pow", "SquaredDifference", "Xdivy", "Xlogy", "Atan2"),
    *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual", "LogicalAnd", "LogicalOr", "SelectV2"),
    *("BitwiseAnd", "BitwiseOr", "BitwiseXor", "LeftShift", "RightShift", "ClipByValue", "Bucketize"),
    *(
        "MaxPool",
        "AvgPool",
        "MaxPool3D",
        "AvgPool3D",
        "LRN",
        "ResizeBilinear",
        "ResizeNearestNeighbor",
        "ResizeBicubic",
        "SpaceToDepth",
        "DepthToSpace",
    ),
    *(
        "StringLower",
        "StringUpper",
        "StringStrip",
        "StringLength",
        "StringJoin",
        "AsString",
        "StringToNumber",
        "Substr",
    ),
    *("StaticRegexReplace", "RegexReplace", "StaticRegexFullMatch", "RegexFullMatch", "StringToHashBucketFast"),
    *("StringToHashBucketStrong", "StringToHashBucket", "DecodeRaw", "LookupTableFind", "LookupTableFindV2"),
}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_REDUCTIONS = {"Sum", "Mean", "Max", "Min", "Prod", "All", "Any", "ArgMax", "ArgMin", "EuclideanNorm"}


@dataclass(frozen=True, slots=True)
class _Argument:
    """An argument of a function: whether it depends on the rows, and its shape if that is known."""

    fixed: bool
    shape: Shape | None


@dataclass(frozen=True, slots=True)
class _Scope:
    """The nodes of one function, its arguments, and the names of nodes that do not depend on the values of the rows."""

    nodes: Mapping[str, protos.NodeDef]
    arguments: Mapping[str, _Argument]
    fixed: set[str]

    def is_fixed(self, name: str) -> bool:
        """Whether a tensor does not depend on the values of the rows."""
        return _source(name) in self.fixed

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor; None if it is unknown, or not the first output of its node."""
        source = _source(name)
        if source in self.arguments:
            return self.arguments[source].shape
        return _shapes(self.nodes[source])[0] if source in self.nodes else None

    def rank(self, name: str) -> int | None:
        """The rank of a tensor; None if it is unknown."""
        shape = self.shape(name)
        return None if shape is None else len(shape)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant; None if the tensor is not one."""
        node = self.nodes.get(_source(name))
        return tensors.from_proto(node.attr["value"].tensor) if node is not None and node.op == "Const" else None


_Rule = Callable[[protos.NodeDef, _Scope], bool]
"""Whether a node of one kind of operation keeps the rows of a batch apart."""


def mixing_operations(graph: SignatureGraph) -> list[str]:
    """The operations through which rows could affect each other, sorted; empty if there are none."""
    return sorted(_mixing(graph.main, {}, graph.functions))


def _mixing(
    nodes: Sequence[protos.NodeDef],
    arguments: Mapping[str, _Argument],
    functions: Mapping[str, protos.FunctionDef],
) -> set[str]:
    """The operations of one function through which rows could affect each other, and of the functions it calls."""
    scope = _scope_of(nodes, arguments)
    found = set()
    for node in nodes:
        if node.name in scope.fixed:
            continue
        if node.op in _CALLS:
            function = functions.get(node.attr["f"].func.name)
            if function is None:
                found.add(node.op)
                continue
            passed = {
                argument.name: _Argument(scope.is_fixed(name), scope.shape(name))
                for argument, name in zip(function.signature.input_arg, node.input, strict=False)
            }
            found |= _mixing(function.node_def, passed, functions)
        elif node.op in _EACH_ROW:
            if not _same_rank(node, scope):
                found.add(node.op)
        elif node.op not in _RULES or not _RULES[node.op](node, scope):
            found.add(node.op)
        if not all(_keeps_batch(shape) for shape in _shapes(node)):
            found.add(node.op)
    return found


def _scope_of(nodes: Sequence[protos.NodeDef], arguments: Mapping[str, _Argument]) -> _Scope:
    fixed = {name for name, argument in arguments.items() if argument.fixed}
    pending = list(nodes)
    while pending:
        left = []
        for node in pending:
            inputs = [_source(name) for name in node.input if not name.startswith("^")]
            if node.op in _NO_ROWS or (inputs and all(name in fixed for name in inputs)):
                fixed.add(node.name)
            else:
                left.append(node)
        if len(left) == len(pending):
            break
        pending = left
    return _Scope({node.name: node for node in nodes}, arguments, fixed)


def _keeps_batch(shape: Shape | None) -> bool:
    """Whether the first dimension can be the batch: of unknown size."""
    return shape is not None and len(shape) > 0 and shape[0] is None


def _shapes(node: protos.NodeDef) -> list[Shape | None]:
    """The shapes of a node's outputs; one unknown shape if they are not recorded."""
    shapes = node.attr["_output_shapes"].list.shape
    if not shapes:
        return [None]
    return [
        None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
        for shape in shapes
    ]


def _source(name: str) -> str:
    return name.removeprefix("^").partition(":")[0]


def _axes_exclude_batch(scope: _Scope, axes: str, tensor: str) -> bool:
    """Whether constant axes are known not to be the first dimension of a tensor."""
    constant, rank = scope.constant(axes), scope.rank(tensor)
    if constant is None:
        return False
    values = [int(axis) for axis in constant.ravel()]
    return all(axis > 0 or (axis < 0 and rank is not None and axis + rank > 0) for axis in values)


def _same_rank(node: protos.NodeDef, scope: _Scope) -> bool:
    """Whether the inputs with rows have one rank: then no row is broadcast along another dimension."""
    ranks = {scope.rank(name) for name in node.input if not name.startswith("^") and not scope.is_fixed(name)}
    return len(ranks - {None}) <= 1


def _weighted(node: protos.NodeDef, scope: _Scope) -> bool:
    """The filter or bias is fixed."""
    return scope.is_fixed(node.input[1])


def _reduction(node: protos.NodeDef, scope: _Scope) -> bool:
    return _axes_exclude_batch(scope, node.input[1], node.input[0])


def _concatenation(node: protos.NodeDef, scope: _Scope) -> bool:
    axis = scope.constant(node.input[-1])
    rank = next((r for name in node.input[:-1] if (r := scope.rank(name)) is not None), None)
    return axis is not None and (int(axis) > 0 or (rank is not None and int(axis) < 0 < int(axis) + rank))


def _matrix_product(node: protos.NodeDef, scope: _Scope) -> bool:
    return not node.attr["transpose_a"].b and scope.is_fixed(node.input[1])


def _batched_product(node: protos.NodeDef, scope: _Scope) -> bool:
    """Each row has a separate matrix (rank 3 or more). A fixed right side may be one matrix for all rows."""
    ranks = [scope.rank(name) for name in node.input if not scope.is_fixed(name)]
    return all(rank is not None and rank > 2 for rank in ranks)


def _einsum(node: protos.NodeDef, scope: _Scope) -> bool:
    """The first letter of each operand that has rows is the first letter of the output."""
    operands, _, output = node.attr["equation"].s.decode().partition("->")
    labels = zip(operands.split(","), node.input, strict=True)
    with_rows = [label for label, name in labels if not scope.is_fixed(name)]
    without = [label for label, name in zip(operands.split(","), node.input, strict=True) if scope.is_fixed(name)]
    first = output[:1]
    return (
        first.isalpha() and all(label.startswith(first) for label in with_rows) and all(first not in w for w in without)
    )


def _transposition(node: protos.NodeDef, scope: _Scope) -> bool:
    order = scope.constant(node.input[1])
    return order is not None and order.size > 0 and int(order[0]) == 0


def _gathering(node: protos.NodeDef, scope: _Scope) -> bool:
    """Rows that select from a fixed table, or fixed places of each row."""
    if scope.is_fixed(node.input[0]):
        return True
    return scope.is_fixed(node.input[1]) and _axes_exclude_batch(scope, node.input[2], node.input[0])


def _slicing(node: protos.NodeDef, scope: _Scope) -> bool:
    """The first dimension is taken whole, in order."""
    if not all(scope.is_fixed(name) for name in node.input[1:]):
        return False
    strides = scope.constant(node.input[3])
    whole = node.attr["begin_mask"].i & node.attr["end_mask"].i & 1
    others = node.attr["shrink_axis_mask"].i | node.attr["new_axis_mask"].i
    if node.attr["ellipsis_mask"].i & 1:
        return True  # `x[..., i]`: the shape of the output tells whether the ellipsis has the batch
    return bool(whole) and not others & 1 and strides is not None and int(strides[0]) == 1


def _expansion(node: protos.NodeDef, scope: _Scope) -> bool:
    axis, rank = scope.constant(node.input[1]), scope.rank(node.input[0])
    if axis is None or axis.size != 1:
        return False
    place = int(axis.ravel()[0])
    return place > 0 or (place < 0 and rank is not None and place + rank + 1 > 0) or place == -1


def _padding(node: protos.NodeDef, scope: _Scope) -> bool:
    sizes = scope.constant(node.input[1])
    return sizes is not None and sizes.size > 0 and not sizes[0].any()


def _normalization(node: protos.NodeDef, scope: _Scope) -> bool:
    return not node.attr["is_training"].b and all(scope.is_fixed(name) for name in node.input[1:])


def _softmax(node: protos.NodeDef, _scope: _Scope) -> bool:
    shape = _shapes(node)[0]
    return shape is not None and len(shape) > 1


def _parsing(node: protos.NodeDef, _scope: _Scope) -> bool:
    """Dense features are tensors with a row for each record; sparse ones are as wide as the longest record."""
    return not node.attr["num_sparse"].i and not node.attr["ragged_value_types"].list.type


def _reshaping(node: protos.NodeDef, scope: _Scope) -> bool:
    """The order of the elements stays. Runs on single rows fail if an output row is made of several input rows."""
    return all(scope.is_fixed(name) for name in node.input[1:])


def _squeezing(node: protos.NodeDef, _scope: _Scope) -> bool:
    axes = list(node.attr["squeeze_dims"].list.i)
    return bool(axes) and 0 not in axes


def _packing(node: protos.NodeDef, _scope: _Scope) -> bool:
    return node.attr["axis"].i != 0


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_REDUCTIONS, _reduction),
    **dict.fromkeys(("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"), _batched_product),
    **dict.fromkeys(("BiasAdd", "Conv2D", "Conv3D", "DepthwiseConv2dNative"), _weighted),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _padding),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _normalization),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Pack", "Unpack"), _packing),
    "ConcatV2": _concatenation,
    "MatMul": _matrix_product,
    "Einsum": _einsum,
    "Transpose": _transposition,
    "GatherV2": _gathering,
    "ResourceGather": lambda node, _scope: node.attr["batch_dims"].i == 0,
    "StridedSlice": _slicing,
    "ExpandDims": _expansion,
    "ParseExampleV2": _parsing,
    "Reshape": _reshaping,
    "Squeeze": _squeezing,
}
