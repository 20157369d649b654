"""Several requests in one run of the graph, side by side: each in a call of its own, so that no row sees another's.

A quick model's run costs more around its operations than in them. A signature of TensorFlow 2 is one call of a function
(a StatefulPartitionedCall) on the signature's placeholders and the model's resources, so the graph can have more such
calls, the lanes, each with placeholders of its own; a run of many lanes pays once for what a run costs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tfsctl.core import protos
from tfsctl.server import capi
from tfsctl.server.effects import has_effects
from tfsctl.server.session import Arrays, Endpoint, Feeds, Session

WIDTHS = (2, 4, 8, 16)  # each is a graph of its own to TensorFlow, which takes tens of milliseconds to make ready
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_PREFIX = "tfsctl_lanes_"
_LARGE_GRAPH_BYTES = 32 * 1024 * 1024  # adding to a graph copies it


class NoLanesError(Exception):
    """Runs with these feeds and fetches cannot go side by side."""


class Lanes:
    """Lanes for runs with the same feeds and fetches.

    Raises NoLanesError where the graph cannot have any: its outputs are not those of one call, or a second run, which
    takes place where one of several requests fails, might not be the same as the first.
    """

    def __init__(self, session: Session, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        if session.graph_bytes > _LARGE_GRAPH_BYTES:
            raise NoLanesError
        call = _Call(session.graph, feeds, fetches)
        self._session = session
        self._feeds, self._fetches = tuple(feeds), tuple(fetches)
        lanes = [call.repeated(f"{_PREFIX}{id(self)}/{number}") for number in range(WIDTHS[-1])]
        self._lane_feeds = [endpoints for endpoints, _ in lanes]
        self._lane_fetches = {w: tuple(end for _, ends in lanes[:w] for end in ends) for w in WIDTHS}
        self._ready: tuple[int, ...] = ()  # widths, the widest first

    def make_ready(self, width: int, feeds: Feeds) -> None:
        """Let TensorFlow prepare itself for runs of so many lanes, by making one. Raises as the run does."""
        self._run([feeds] * width)
        self._ready = (width, *self._ready)

    def run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """The arrays of each request, in as few runs as can be, on this thread. Raises if one of them fails."""
        answers: list[Arrays] = []
        for width in self._ready:
            while len(requests) - len(answers) >= width:
                answers += self._run(requests[len(answers) : len(answers) + width])
        answers += [self._session.run(feeds, self._fetches, inline=True) for feeds in requests[len(answers) :]]
        return answers

    def _run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        feeds = [
            (endpoint, array)
            for endpoints, given in zip(self._lane_feeds, requests, strict=False)
            for endpoint, (_, array) in zip(endpoints, given, strict=True)
        ]
        arrays = self._session.run(feeds, self._lane_fetches[len(requests)], inline=True)
        size = len(self._fetches)
        return [arrays[start : start + size] for start in range(0, len(arrays), size)]


class _Call:
    """The call whose outputs are fetched and whose inputs are fed."""

    def __init__(self, graph: int, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        library = capi.holding()
        operation, *others = {endpoint.output.operation for endpoint in fetches}
        if others or _type_of(operation) not in _CALLS:
            raise NoLanesError
        ends = (capi.Output(operation, index) for index in range(library.TF_OperationNumInputs(operation)))
        self._inputs = [library.TF_OperationInput(end) for end in ends]
        given = {end.operation for end in self._inputs}
        if any(one.output.operation not in given or _type_of(one.output.operation) != "Placeholder" for one in feeds):
            raise NoLanesError
        self._graph, self._feeds, self._fetches = graph, feeds, fetches
        self._node = _node_def(operation)
        if has_effects(graph, self._node.attr["f"].func.name):
            raise NoLanesError

    def repeated(self, name: str) -> tuple[list[Endpoint], list[Endpoint]]:
        """A further call like it, with placeholders of its own: the feeds and the fetches of that."""
        placeholders = {}
        for index, one in enumerate(self._feeds):
            operation = self._add(f"{name}/input_{index}", _node_def(one.output.operation), [])
            placeholders[one.output.operation] = capi.Output(operation, 0)
        inputs = [placeholders.get(end.operation, end) for end in self._inputs]
        call = self._add(f"{name}/call", self._node, inputs)
        feeds = [replace(one, output=placeholders[one.output.operation]) for one in self._feeds]
        return feeds, [replace(one, output=capi.Output(call, one.output.index)) for one in self._fetches]

    def _add(self, name: str, node: Any, inputs: Sequence[capi.Output]) -> int:  # noqa: ANN401 - a generated NodeDef
        """An operation with the attributes of a node. All inputs of a call are one list."""
        library, status = capi.holding(), capi.status()
        operation = library.TF_NewOperation(self._graph, node.op.encode(), name.encode())
        if inputs:
            library.TF_AddInputList(operation, (capi.Output * len(inputs))(*inputs), len(inputs))
        for key, value in node.attr.items():
            raw = value.SerializeToString()
            library.TF_SetAttrValueProto(operation, key.encode(), raw, len(raw), status)
            capi.check()
        finished: int = library.TF_FinishOperation(operation, status)
        capi.check()
        return finished


def _type_of(operation: int | None) -> str:
    return capi.holding().TF_OperationOpType(operation).decode() if operation else ""


def _node_def(operation: int) -> Any:  # noqa: ANN401 - a generated NodeDef
    return protos.NodeDef.FromString(capi.written(capi.holding().TF_OperationToNodeDef, operation))
