"""Adds replicas of a signature's function call to a graph, each with its own inputs.

Functions: tensorflow/c/c_api.h. What is added does not change what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tfsctl.core import protos
from tfsctl.server.execution.effects import has_effects
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.session import Endpoint

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class NoReplicasError(Exception):
    """Runs with these feeds and fetches cannot have replicas."""


Ends = tuple[list[Endpoint], list[Endpoint]]
"""The tensors to feed and the tensors to fetch."""


class FunctionCall:
    """The call whose inputs are fed and whose outputs are fetched. Raises NoReplicasError if it is not exactly one."""

    def __init__(self, graph: int, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        library = capi.gil_held()
        operation, *others = {endpoint.output.operation for endpoint in fetches}
        if others or _type_of(operation) not in _CALLS:
            raise NoReplicasError
        ends = (capi.Output(operation, index) for index in range(library.TF_OperationNumInputs(operation)))
        self._inputs = [library.TF_OperationInput(end) for end in ends]
        given = {end.operation for end in self._inputs}
        fed = {one.output.operation for one in feeds}
        if len(fed) < len(feeds) or fed - given or any(_type_of(one) != "Placeholder" for one in fed):
            raise NoReplicasError
        self._graph, self._feeds, self._fetches = graph, feeds, fetches
        self._node = _node_def(operation)
        if has_effects(graph, self._node.attr["f"].func.name):
            raise NoReplicasError

    def repeated(self, name: str) -> Ends:
        """One more call of the function, with its own placeholders."""
        inputs = {
            one.output.operation: capi.Output(self._add(f"{name}/input_{index}", _node_def(one.output.operation)), 0)
            for index, one in enumerate(self._feeds)
        }
        return _moved(self._feeds, inputs.values()), self._called(f"{name}/call", inputs)

    def packed(self, name: str, width: int) -> Ends:
        """`width` more calls of the function; their inputs are packed into one tensor for each feed, and so are their outputs."""
        placeholders, unpacks = [], {}
        unpack = protos.NodeDef(op="Unpack")
        unpack.attr["num"].i = width
        for index, one in enumerate(self._feeds):
            placeholder = self._add(f"{name}/input_{index}", _widened(_node_def(one.output.operation), width))
            placeholders.append(capi.Output(placeholder, 0))
            unpacks[one.output.operation] = self._add(f"{name}/unpacked_{index}", unpack, placeholders[-1])
        replicas = [
            self._called(f"{name}/call_{index}", {one: capi.Output(unpack, index) for one, unpack in unpacks.items()})
            for index in range(width)
        ]
        # TensorFlow inlines a call whose outputs are not fetched only if another operation depends on it by a control
        # edge. A call that is not inlined takes twice as long.
        calls = [ends[0].output.operation for ends in replicas]
        ended = self._add(f"{name}/ended", protos.NodeDef(op="NoOp"), after=calls)
        packs = []
        for index, ends in enumerate(zip(*replicas, strict=True)):
            outputs = [end.output for end in ends]
            pack = self._add(f"{name}/output_{index}", protos.NodeDef(op="Pack"), outputs, after=[ended])
            packs.append(capi.Output(pack, 0))
        return _moved(self._feeds, placeholders), _moved(self._fetches, packs)

    def _called(self, name: str, inputs: Mapping[int | None, capi.Output]) -> list[Endpoint]:
        """The fetches of one more call, with `inputs` in the place of the placeholders (by operation)."""
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
        """Add an operation with the attributes of `node`. It has one input, or one list of inputs, and runs after others."""
        library, status = capi.gil_held(), capi.status()
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
    """The same endpoints at other outputs of the graph."""
    return [replace(one, output=output) for one, output in zip(endpoints, outputs, strict=True)]


def _widened(placeholder: protos.NodeDef, width: int) -> protos.NodeDef:
    """The placeholder with one more dimension in front, of size `width`. Its rank may be unknown."""
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
    return capi.gil_held().TF_OperationOpType(operation).decode() if operation else ""


def _node_def(operation: int) -> protos.NodeDef:
    return protos.NodeDef.FromString(capi.call_for_bytes(capi.gil_held().TF_OperationToNodeDef, operation))
