"""Refuses graphs that are too deep, and function calls without an end or with other outputs than the function.

TensorFlow inlines functions recursively, without a limit: a function that reaches itself through PartitionedCall
overflows the stack, and 30 functions that call the next one twice become a billion nodes. It stores the outputs of a
function without checking that the call has as many. Its optimizers follow the inputs of a node recursively: a chain of
30,800 Identity nodes overflows a stack of 8 MiB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tfsctl.core import protos
from tfsctl.core.graphs.signature_graph import functions_in_attributes

_MAX_DEPTH = 500
_MAX_NODES = 5_000_000
_MAX_CHAIN = 20_000
_LOOPS = {"NextIteration", "RefNextIteration"}
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
    """The nodes of a function, or of the graph.

    - `nodes`: their number
    - `names`: how often each name is called (or is an operation)
    - `inputs`: of each node, by its name, the nodes that it reads, or waits for
    - `calls`: of each node that may call a function, the names that it calls
    """

    nodes: int = 0
    names: Counter[str] = field(default_factory=Counter)
    inputs: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)

    def add(self, node: protos.NodeDef) -> None:
        """Count one node."""
        called = list(functions_in_attributes(node))
        self.nodes += 1
        self.names[node.op] += 1
        self.names.update(called)
        is_loop = node.op in _LOOPS  # its input is of the iteration before
        self.inputs[node.name] = [] if is_loop else [name.lstrip("^").partition(":")[0] for name in node.input]
        self.calls[node.name] = [node.op, *called]

    def longest_chain(self, chains: Mapping[str | None, int]) -> int:
        """The nodes on the longest path, with those of called functions (`chains`). Nodes of a cycle do not count."""
        readers: dict[str, list[str]] = {}
        missing: dict[str, int] = {}
        for name, inputs in self.inputs.items():
            known = [other for other in inputs if other in self.inputs]
            missing[name] = len(known)
            for other in known:
                readers.setdefault(other, []).append(name)
        length = dict.fromkeys(self.inputs, 0)  # of the longest path to a node, and then with it
        ready = [name for name, count in missing.items() if not count]
        for name in ready:
            length[name] += 1 + max(chains.get(called, 0) for called in self.calls[name])
            for reader in readers.get(name, ()):
                length[reader] = max(length[reader], length[name])
                missing[reader] -= 1
                if not missing[reader]:
                    ready.append(reader)
        return max(length.values(), default=0)


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
    chain: dict[str | None, int] = {}
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
            # No path has more nodes than there are; only large graphs are worth following.
            chain[name] = size[name] if size[name] <= _MAX_CHAIN else bodies[name].longest_chain(chain)
        elif called in path:
            return f"function {called} calls itself"
        elif called not in depth:
            path[called] = _calls(functions[called], functions)
    if depth[None] > _MAX_DEPTH:
        return f"functions call each other {depth[None]} levels deep, more than {_MAX_DEPTH}"
    if size[None] > _MAX_NODES:
        return f"its functions expand to {size[None]} nodes, more than {_MAX_NODES}"
    if chain[None] > _MAX_CHAIN:
        return f"it has a chain of {chain[None]} nodes that depend on each other, more than {_MAX_CHAIN}"
    return ""


def _calls(body: Body, functions: dict[str, Body]) -> Iterator[str]:
    return (name for name in body.names if name in functions)
