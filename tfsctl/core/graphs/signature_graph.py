"""The part of a graph that a signature runs: its nodes, and those of the functions they call.

Formats: tensorflow/core/framework/graph.proto, node_def.proto and function.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfsctl.core import protos

# Operations that call back into the Python process that built the model. A model server has no Python.
PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
# Operations that change a variable, a table, a queue or a random generator, which the next request reads.
_STATE_OPS = re.compile(
    r"Assign(Add|Sub)?(VariableOp)?|(Resource)?CountUpTo"
    r"|Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)|ResourceScatter\w+|ResourceStridedSliceAssign"
    r"|(Resource)?(Sparse)?Apply[A-Z]\w+"
    r"|LookupTable(Insert|Import|Remove)(V2)?|Queue(Enqueue|Dequeue)\w*"
    r"|Rng(ReadAnd)?Skip(V2)?|Stateful(Uniform|StandardNormal|TruncatedNormal|RandomBinomial)\w*"
)


@dataclass(frozen=True, slots=True)
class SignatureGraph:
    """The graph of a signature: nodes of the main graph, and the functions that they call, by name."""

    main: Sequence[protos.NodeDef]
    functions: Mapping[str, protos.FunctionDef]

    @property
    def nodes(self) -> list[Sequence[protos.NodeDef]]:
        """All nodes, grouped by function; the nodes of the main graph come first."""
        return [self.main, *(function.node_def for function in self.functions.values())]

    @property
    def python_ops(self) -> list[str]:
        """The operations that need Python, sorted."""
        return sorted(self._ops & PYTHON_OPS)

    @property
    def changes_state(self) -> bool:
        """Whether a run changes variables, so that the next answer may differ."""
        return any(_STATE_OPS.fullmatch(op) for op in self._ops)

    @property
    def _ops(self) -> set[str]:
        return {node.op for nodes in self.nodes for node in nodes}


def signature_graph(graph: protos.MetaGraphDef, name: str) -> SignatureGraph:
    """The part of a graph that the signature of a name runs."""
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    outputs = [tensor for info in graph.signature_def[name].outputs.values() for tensor in _tensor_names(info)]
    main = list(_ancestors({node.name: node for node in graph.graph_def.node}, outputs))
    called: dict[str, protos.FunctionDef] = {}
    pending = list(_called_functions(main))
    while pending:
        name = pending.pop()
        if name in functions and name not in called:
            called[name] = functions[name]
            pending += _called_functions(functions[name].node_def)
    return SignatureGraph(main, called)


def _tensor_names(info: protos.TensorInfo) -> Iterator[str]:
    """The names of the tensors of an output: one if it is dense, several if it is sparse or a composite."""
    if info.HasField("coo_sparse"):
        sparse = info.coo_sparse
        yield from (sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name)
    elif info.HasField("composite_tensor"):
        yield from (component.name for component in info.composite_tensor.components)
    else:
        yield info.name


def _ancestors(nodes: Mapping[str, protos.NodeDef], tensors: Iterable[str]) -> Iterator[protos.NodeDef]:
    """The nodes that compute these tensors, directly or not, also those of control inputs (`^name`)."""
    seen: set[str] = set()
    pending = list(tensors)
    while pending:
        name = pending.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            yield nodes[name]
            pending += nodes[name].input


def _called_functions(nodes: Iterable[protos.NodeDef]) -> Iterator[str]:
    """The names that may be functions: operations themselves, and function attributes."""
    for node in nodes:
        yield node.op
        yield from functions_in_attributes(node)


def functions_in_attributes(node: protos.NodeDef) -> Iterator[str]:
    """The names of the functions in the attributes of a node."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        elif value.HasField("list"):
            for function in value.list.func:
                yield function.name
