"""Refuses graphs whose function calls have no end: recursion, very deep nesting, or expansion into too many nodes.

TensorFlow inlines functions recursively, without a limit: a function that reaches itself through PartitionedCall
overflows the stack, and 30 functions that call the next one twice become a billion nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tfsctl.core import protos

_MAX_DEPTH = 500
_MAX_NODES = 5_000_000


@dataclass(slots=True)
class Body:
    """The nodes of a function, or of the graph: their number, and how often each name is called (or is an operation)."""

    nodes: int = 0
    names: Counter[str] = field(default_factory=Counter)

    def add(self, node: protos.NodeDef) -> None:
        """Count one node."""
        self.nodes += 1
        self.names[node.op] += 1
        self.names.update(_called(node))


def find_endless_calls(graph: Body, functions: dict[str, Body]) -> str:
    """What is wrong with the calls that the graph reaches; "" if nothing is."""
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


def _called(node: protos.NodeDef) -> Iterator[str]:
    """The functions that a node names in its attributes."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        elif value.HasField("list"):
            for function in value.list.func:
                yield function.name
