"""Refuses graphs whose function calls never end, or whose outputs differ from those of the called function.

TensorFlow inlines functions recursively, without a limit: a function that reaches itself through PartitionedCall
overflows the stack, and 30 functions that call the next one twice become a billion nodes. It stores the outputs of a
function without checking that the call has as many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tfsctl.core import protos
from tfsctl.core.graphs.signature_graph import functions_in_attributes

_MAX_DEPTH = 500
_MAX_NODES = 5_000_000
# Calling operations: the attributes with their functions, and the attribute with the dtypes of their outputs.
_CALLS = {
    "PartitionedCall": (("f",), "Tout"),
    "StatefulPartitionedCall": (("f",), "Tout"),
    "If": (("then_branch", "else_branch"), "Tout"),
    "StatelessIf": (("then_branch", "else_branch"), "Tout"),
    "While": (("body",), "T"),
    "StatelessWhile": (("body",), "T"),
}


@dataclass(slots=True)
class Body:
    """The nodes of a function, or of the graph: their number, and how often each operation and called function occurs."""

    nodes: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, node: protos.NodeDef) -> None:
        """Count one node."""
        self.nodes += 1
        self.names[node.op] += 1
        self.names.update(functions_in_attributes(node))


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A node that calls a function: the node's name, the function, and the dtypes of the node's outputs."""

    node: str
    function: str
    outputs: tuple[int, ...]

    @classmethod
    def calls_of(cls, node: protos.NodeDef) -> Iterator[FunctionCall]:
        """The calls of a node that returns the outputs of the called function; an If calls two."""
        attributes, dtypes = _CALLS.get(node.op, ((), ""))
        for attribute in attributes:
            if attribute in node.attr and dtypes in node.attr:
                yield cls(node.name, node.attr[attribute].func.name, tuple(node.attr[dtypes].list.type))


def find_mismatched_call(calls: Iterable[FunctionCall], signatures: Mapping[str, protos.OpDef]) -> str:
    """The first call whose outputs are not those of its function; "" if there is none. `signatures` are by function."""
    for call in calls:
        signature = signatures.get(call.function)
        if signature is None or any(_is_variable(argument) for argument in signature.output_arg):
            continue
        if call.outputs != tuple(argument.type for argument in signature.output_arg):
            return f"node {call.node} has other outputs than the function {call.function} that it calls"
    return ""


def _is_variable(argument: protos.OpDef.ArgDef) -> bool:
    """Whether the number or the dtype of an argument depends on attributes of the call."""
    return bool(argument.type_attr or argument.number_attr or argument.type_list_attr)


def find_endless_calls(graph: Body, functions: dict[str, Body]) -> str:
    """Why the calls that the graph reaches have no end, or too many levels or nodes; "" if they are all right."""
    bodies: dict[str | None, Body] = {None: graph}
    bodies.update(functions)
    depth: dict[str | None, int] = {}
    size: dict[str | None, int] = {}
    # The functions being visited (None: the graph), each with the calls still to visit.
    path: dict[str | None, Iterator[str]] = {None: _calls(graph, functions)}
    while path:
        name = next(reversed(path))
        called = next(path[name], None)
        if called is None:
            del path[name]
            calls = [(other, bodies[name].names[other]) for other in _calls(bodies[name], functions)]
            depth[name] = 1 + max((depth[other] for other, _ in calls), default=0)
            size[name] = bodies[name].nodes + sum(times * size[other] for other, times in calls)
        elif called in path:
            return f"function {called} calls itself"
        elif called not in depth:
            path[called] = _calls(functions[called], functions)
    if depth[None] > _MAX_DEPTH:
        return f"functions call each other {depth[None]} levels deep, more than {_MAX_DEPTH}"
    if size[None] > _MAX_NODES:
        return f"its functions expand to {size[None]} nodes, more than {_MAX_NODES}"
    return ""


def _calls(body: Body, functions: dict[str, Body]) -> Iterator[str]:
    return (name for name in body.names if name in functions)
