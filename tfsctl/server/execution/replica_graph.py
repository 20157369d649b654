"""Adds replicas of a signature's function call to a graph, each with its own inputs.

Functions: tensorflow/c/c_api.h. Nothing that was in the graph before is changed.
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


FeedsAndFetches = tuple[list[Endpoint], list[Endpoint]]


class SignatureCall:
    """The function call of a signature, and more calls like it.

    Raises NoReplicasError unless all `fetches` are outputs of one call of a function without effects, and all `feeds`
    are placeholders that the call reads directly.
    """

    def __init__(self, graph: int, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        library = capi.gil_held()
        operation, *others = {endpoint.output.operation for endpoint in fetches}
        if others or _type_of(operation) not in _CALLS:
            raise NoReplicasError
        slots = (capi.Output(operation, index) for index in range(library.TF_OperationNumInputs(operation)))
        self._inputs = [library.TF_OperationInput(slot) for slot in slots]
        read = {output.operation for output in self._inputs}
        fed = {feed.output.operation for feed in feeds}
        if len(fed) < len(feeds) or fed - read or any(_type_of(operation) != "Placeholder" for operation in fed):
            raise NoReplicasError
        self._graph, self._feeds, self._fetches = graph, feeds, fetches
        self._node = _node_def(operation)
        if has_effects(graph, self._node.attr["f"].func.name):
            raise NoReplicasError

    def add_call(self, name: str) -> FeedsAndFetches:
        """Add a call of the function with its own placeholders; returns its feeds and fetches."""
        inputs = {
            feed.output.operation: capi.Output(self._add(f"{name}/input_{index}", _node_def(feed.output.operation)), 0)
            for index, feed in enumerate(self._feeds)
        }
        return _with_outputs(self._feeds, inputs.values()), self._add_function_call(f"{name}/call", inputs)

    def add_packed_calls(self, name: str, width: int) -> FeedsAndFetches:
        """Add `width` calls of the function whose inputs, and outputs, are packed; returns their feeds and fetches.

        Each tensor to feed or fetch has one more dimension in front, of size `width`.
        """
        placeholders, unpacks = [], {}
        unpack = protos.NodeDef(op="Unpack")
        unpack.attr["num"].i = width
        for index, feed in enumerate(self._feeds):
            placeholder = self._add(f"{name}/input_{index}", _widened(_node_def(feed.output.operation), width))
            placeholders.append(capi.Output(placeholder, 0))
            unpacks[feed.output.operation] = self._add(f"{name}/unpacked_{index}", unpack, placeholders[-1])
        replicas = [
            self._add_function_call(
                f"{name}/call_{index}", {fed: capi.Output(unpack, index) for fed, unpack in unpacks.items()}
            )
            for index in range(width)
        ]
        # TensorFlow inlines a call whose outputs are not fetched only if another operation depends on it by a control
        # edge. A call that is not inlined takes twice as long.
        calls = [fetches[0].output.operation for fetches in replicas]
        ended = self._add(f"{name}/ended", protos.NodeDef(op="NoOp"), after=calls)
        packs = []
        for index, fetch_of_each in enumerate(zip(*replicas, strict=True)):
            outputs = [fetch.output for fetch in fetch_of_each]
            pack = self._add(f"{name}/output_{index}", protos.NodeDef(op="Pack"), outputs, after=[ended])
            packs.append(capi.Output(pack, 0))
        return _with_outputs(self._feeds, placeholders), _with_outputs(self._fetches, packs)

    def _add_function_call(self, name: str, inputs: Mapping[int | None, capi.Output]) -> list[Endpoint]:
        """Add a call that reads `inputs` in place of the signature's placeholders (by operation); returns its fetches."""
        call = self._add(name, self._node, [inputs.get(output.operation, output) for output in self._inputs])
        return _with_outputs(self._fetches, [capi.Output(call, fetch.output.index) for fetch in self._fetches])

    def _add(
        self,
        name: str,
        node: protos.NodeDef,
        inputs: capi.Output | Sequence[capi.Output] = (),
        *,
        after: Iterable[int | None] = (),
    ) -> int:
        """Add an operation with the op and attributes of `node`, and return it.

        `inputs` is its only input, or the elements of its only list of inputs. `after` are operations that it runs after
        (control inputs).
        """
        library, status = capi.gil_held(), capi.status()
        operation = library.TF_NewOperation(self._graph, node.op.encode(), name.encode())
        if isinstance(inputs, capi.Output):
            library.TF_AddInput(operation, inputs)
        elif inputs:
            library.TF_AddInputList(operation, (capi.Output * len(inputs))(*inputs), len(inputs))
        for predecessor in after:
            library.TF_AddControlInput(operation, predecessor)
        for key, value in node.attr.items():
            raw = value.SerializeToString()
            library.TF_SetAttrValueProto(operation, key.encode(), raw, len(raw), status)
            capi.check()
        finished: int = library.TF_FinishOperation(operation, status)
        capi.check()
        return finished


def _with_outputs(endpoints: Iterable[Endpoint], outputs: Iterable[capi.Output]) -> list[Endpoint]:
    """Copies of the endpoints with other outputs of the graph."""
    return [replace(endpoint, output=output) for endpoint, output in zip(endpoints, outputs, strict=True)]


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
