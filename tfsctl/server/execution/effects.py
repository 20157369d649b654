"""Tells whether a function of a graph has effects besides its outputs; a run with effects must not be repeated.

An operation is judged by its OpDef (tensorflow/core/framework/op_def.proto): by `is_stateful`, and by inputs that are
resources. Operations that change a resource have such an input, but not all of them are marked as stateful.
"""

from __future__ import annotations

from tfsctl.core import dtypes, protos
from tfsctl.core.graphs.signature_graph import functions_in_attributes
from tfsctl.server.runtime import capi

# Stateful operations that do not change their state. The functions that _CALLS call are checked too.
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
    """Whether running this function of a TF_Graph may change state, or give other outputs for the same inputs."""
    library = {f.signature.name: f for f in _graph_def(graph).library.function}
    if function not in library:
        return True
    operations: set[str] = set()
    seen, pending = set(), [function]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            for node in library[name].node_def:
                operations.add(node.op)
                pending += [called for called in (node.op, *functions_in_attributes(node)) if called in library]
    return any(_is_stateful(graph, operation) for operation in operations - _HARMLESS - library.keys())


def _graph_def(graph: int) -> protos.GraphDef:
    return protos.GraphDef.FromString(capi.call_for_bytes(capi.gil_released().TF_GraphToGraphDef, graph))


def _is_stateful(graph: int, operation: str) -> bool:
    definition = protos.OpDef.FromString(
        capi.call_for_bytes(capi.gil_held().TF_GraphGetOpDef, graph, operation.encode())
    )
    return definition.is_stateful or any(argument.type == dtypes.RESOURCE_NUMBER for argument in definition.input_arg)
