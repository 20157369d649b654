"""Whether a function of a graph does anything but compute its outputs: a run that does may not be made twice.

What an operation is comes from its OpDef (tensorflow/core/framework/op_def.proto): `is_stateful`, and inputs that are
resources, which those that change a resource have although not all of them say so.
"""

from __future__ import annotations

from collections.abc import Iterator

from tfsctl.core import protos
from tfsctl.server.runtime import capi

_RESOURCE = 20  # DT_RESOURCE
# Operations with state that leave it as it is. What those that call functions do is looked up in the functions.
_CHECKS = {"Assert", "CheckNumerics", "CheckNumericsV2", "NoOp", "Placeholder"}
_CALLS = {"Case", "If", "StatefulPartitionedCall", "While"}
_VARIABLES = {
    "ReadVariableOp",
    "ResourceGather",
    "ResourceGatherNd",
    "VarHandleOp",
    "VarIsInitializedOp",
    "VariableShape",
}
_TABLES = {"HashTableV2", "LookupTableFindV2", "LookupTableSizeV2", "MutableHashTableV2"}
_HARMLESS = _CHECKS | _CALLS | _VARIABLES | _TABLES


def has_effects(graph: int, function: str) -> bool:
    """Whether running this function of a TF_Graph may change anything, or tell the same inputs another answer."""
    library = {f.signature.name: f for f in _graph_def(graph).library.function}
    if function not in library:
        return True
    operations: set[str] = set()
    seen, ahead = set(), [function]
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            for node in library[name].node_def:
                operations.add(node.op)
                ahead += [called for called in (node.op, *_called(node)) if called in library]
    return any(_is_stateful(graph, operation) for operation in operations - _HARMLESS - library.keys())


def _graph_def(graph: int) -> protos.GraphDef:
    return protos.GraphDef.FromString(capi.written(capi.releasing().TF_GraphToGraphDef, graph))


def _called(node: protos.NodeDef) -> Iterator[str]:
    """The functions that a node names in its attributes."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _is_stateful(graph: int, operation: str) -> bool:
    definition = protos.OpDef.FromString(capi.written(capi.holding().TF_GraphGetOpDef, graph, operation.encode()))
    return definition.is_stateful or any(argument.type == _RESOURCE for argument in definition.input_arg)
