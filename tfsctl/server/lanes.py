"""Several requests in one run of the graph, side by side: each in a call of its own, so that no row sees another's.

A quick model's run costs more around its operations than in them. A signature of TensorFlow 2 is one call of a function
(a StatefulPartitionedCall) on the signature's placeholders and the model's resources, so the graph can have more such
calls, the lanes, each with inputs of its own; a run of many lanes pays once for what a run costs by itself. Where all
tensors are of one shape they are handed over, and taken, as one for all lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tfsctl.core import protos
from tfsctl.server import capi
from tfsctl.server.effects import has_effects
from tfsctl.server.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

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
        call, name = _Call(session.graph, feeds, fetches), f"{_PREFIX}{id(self)}"
        self._session, self._fetches = session, tuple(fetches)
        self._lanes = [call.repeated(f"{name}/{lane}") for lane in range(WIDTHS[-1])]
        self._packed = {width: call.packed(f"{name}/packed_{width}", width) for width in WIDTHS}
        self._ready: tuple[int, ...] = ()  # widths, the widest first
        self._may_pack = True

    def make_ready(self, width: int, feeds: Feeds) -> None:
        """Let TensorFlow prepare itself for runs of so many lanes, by making some. Raises as the run does."""
        requests = [feeds] * width
        self._run_separate(requests)
        self._run(requests)
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
        if not (self._may_pack and _are_alike(requests)):
            return self._run_separate(requests)
        try:
            return self._run_packed(requests)
        except ServingError:
            answers = self._run_separate(requests)
            self._may_pack = False  # there was nothing wrong with the requests
            return answers

    def _run_packed(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """Hand over one tensor for all lanes, and take one: tensors made and read cost as much as a quick run."""
        feeds, fetches = self._packed[len(requests)]
        given = [_packed([request[index][1] for request in requests]) for index in range(len(feeds))]
        arrays = self._session.run(list(zip(feeds, given, strict=True)), fetches, inline=True)
        return [[array[lane, ...] for array in arrays] for lane in range(len(requests))]

    def _run_separate(self, requests: Sequence[Feeds]) -> list[Arrays]:
        feeds: list[tuple[Endpoint, np.ndarray]] = []
        fetches: list[Endpoint] = []
        for (lane_feeds, lane_fetches), given in zip(self._lanes, requests, strict=False):
            feeds += [(endpoint, array) for endpoint, (_, array) in zip(lane_feeds, given, strict=True)]
            fetches += lane_fetches
        arrays = self._session.run(feeds, fetches, inline=True)
        size = len(self._fetches)
        return [arrays[start : start + size] for start in range(0, len(arrays), size)]


def _are_alike(requests: Sequence[Feeds]) -> bool:
    """Whether the tensors of all requests have the same shapes and dtypes."""
    first, *others = requests
    return all(
        array.shape == like.shape and array.dtype == like.dtype
        for feeds in others
        for (_, array), (_, like) in zip(feeds, first, strict=True)
    )


def _packed(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shape = arrays[0].shape
    return np.concatenate(arrays).reshape(len(arrays), *shape) if shape else np.stack(arrays)


_Ends = tuple[list[Endpoint], list[Endpoint]]
"""What is fed and what is fetched."""


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
        fed = {one.output.operation for one in feeds}
        if len(fed) < len(feeds) or fed - given or any(_type_of(one) != "Placeholder" for one in fed):
            raise NoLanesError
        self._graph, self._feeds, self._fetches = graph, feeds, fetches
        self._node = _node_def(operation)
        if has_effects(graph, self._node.attr["f"].func.name):
            raise NoLanesError

    def repeated(self, name: str) -> _Ends:
        """A further call like it, with placeholders of its own."""
        inputs = {
            one.output.operation: capi.Output(self._add(f"{name}/input_{index}", _node_def(one.output.operation)), 0)
            for index, one in enumerate(self._feeds)
        }
        return _moved(self._feeds, inputs.values()), self._called(f"{name}/call", inputs)

    def packed(self, name: str, width: int) -> _Ends:
        """So many further calls like it; the inputs of all are packed into one, one after the other, as the outputs are."""
        placeholders, unpacks = [], {}
        unpack = protos.NodeDef(op="Unpack")
        unpack.attr["num"].i = width
        for index, one in enumerate(self._feeds):
            placeholder = self._add(f"{name}/input_{index}", _of_many(_node_def(one.output.operation), width))
            placeholders.append(capi.Output(placeholder, 0))
            unpacks[one.output.operation] = self._add(f"{name}/unpacked_{index}", unpack, placeholders[-1])
        lanes = [
            self._called(f"{name}/call_{lane}", {one: capi.Output(unpack, lane) for one, unpack in unpacks.items()})
            for lane in range(width)
        ]
        # TensorFlow inlines a call whose outputs are not fetched only where something waits for it to end; one that is not
        # inlined takes twice as long.
        calls = [ends[0].output.operation for ends in lanes]
        ended = self._add(f"{name}/ended", protos.NodeDef(op="NoOp"), after=calls)
        packs = []
        for index, ends in enumerate(zip(*lanes, strict=True)):
            outputs = [end.output for end in ends]
            pack = self._add(f"{name}/output_{index}", protos.NodeDef(op="Pack"), outputs, after=[ended])
            packs.append(capi.Output(pack, 0))
        return _moved(self._feeds, placeholders), _moved(self._fetches, packs)

    def _called(self, name: str, inputs: Mapping[int | None, capi.Output]) -> list[Endpoint]:
        """What is fetched of a further call with these in the place of the placeholders."""
        call = self._add(name, self._node, [inputs.get(end.operation, end) for end in self._inputs])
        return _moved(self._fetches, [capi.Output(call, one.output.index) for one in self._fetches])

    def _add(
        self,
        name: str,
        node: Any,  # noqa: ANN401 - a generated NodeDef
        inputs: capi.Output | Sequence[capi.Output] = (),
        *,
        after: Iterable[int | None] = (),
    ) -> int:
        """An operation with the attributes of a node. It takes one input, or several that are one list; others end first."""
        library, status = capi.holding(), capi.status()
        operation = library.TF_NewOperation(self._graph, node.op.encode(), name.encode())
        if isinstance(inputs, capi.Output):
            library.TF_AddInput(operation, inputs)
        elif inputs:
            library.TF_AddInputList(operation, (capi.Output * len(inputs))(*inputs), len(inputs))
        for one in after:
            library.TF_AddControlInput(operation, one)
        for key, value in node.attr.items():
            raw = value.SerializeToString()
            library.TF_SetAttrValueProto(operation, key.encode(), raw, len(raw), status)
            capi.check()
        finished: int = library.TF_FinishOperation(operation, status)
        capi.check()
        return finished


def _moved(endpoints: Iterable[Endpoint], outputs: Iterable[capi.Output]) -> list[Endpoint]:
    """The same endpoints at other places of the graph."""
    return [replace(one, output=output) for one, output in zip(endpoints, outputs, strict=True)]


def _of_many(placeholder: Any, width: int) -> Any:  # noqa: ANN401 - a generated NodeDef
    """A placeholder of so many tensors, one after the other. The shape of one may be unknown."""
    shape = placeholder.attr["shape"].shape
    if shape.dim:
        dims = [width, *(dim.size for dim in shape.dim)]
        del shape.dim[:]
        for size in dims:
            shape.dim.add(size=size)
    else:
        shape.unknown_rank = True
    return placeholder


def _type_of(operation: int | None) -> str:
    return capi.holding().TF_OperationOpType(operation).decode() if operation else ""


def _node_def(operation: int) -> Any:  # noqa: ANN401 - a generated NodeDef
    return protos.NodeDef.FromString(capi.written(capi.holding().TF_OperationToNodeDef, operation))
