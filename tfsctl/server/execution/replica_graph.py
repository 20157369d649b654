"""Lanes put into a graph: further calls of a signature's function, each with inputs of its own.

Functions: tensorflow/c/c_api.h. What is added changes nothing of what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tfsctl.core import protos
from tfsctl.server.execution.effects import has_effects
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.session import Endpoint

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class NoLanesError(Exception):
    """Runs with these feeds and fetches cannot go side by side."""


Ends = tuple[list[Endpoint], list[Endpoint]]
"""What is fed and what is fetched."""


class Call:
    """The call whose outputs are fetched and whose inputs are fed. Raises NoLanesError where there is none that will do."""

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

    def repeated(self, name: str) -> Ends:
        """A further call like it, with placeholders of its own."""
        inputs = {
            one.output.operation: capi.Output(self._add(f"{name}/input_{index}", _node_def(one.output.operation)), 0)
            for index, one in enumerate(self._feeds)
        }
        return _moved(self._feeds, inputs.values()), self._called(f"{name}/call", inputs)

    def packed(self, name: str, width: int) -> Ends:
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
        node: protos.NodeDef,
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


def _of_many(placeholder: protos.NodeDef, width: int) -> protos.NodeDef:
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


def _node_def(operation: int) -> protos.NodeDef:
    return protos.NodeDef.FromString(capi.written(capi.holding().TF_OperationToNodeDef, operation))
