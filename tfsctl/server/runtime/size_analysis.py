"""Finds what the sizes of a run's tensors depend on: on the shapes of the inputs alone, or on their values.

A run of a quick model holds the event loop. That is safe only if a request cannot make it allocate or take more than
another request of the same size does: if the shapes of its inputs decide about the sizes of all tensors. A model that
makes a tensor of a size that the request names (`tf.fill`, `tf.range`, …) may run for seconds, and TensorFlow waits ten
seconds for memory that it does not get. So every tensor of a graph is followed from the inputs to the outputs, through
functions, branches and loops. Operations that `size_rules` does not know may do anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from tfsctl.core import dtypes, protos
from tfsctl.server.runtime import size_rules

_MAX_SMALL = 1_000_000
_SELECTIONS = frozenset(("Select", "SelectV2"))
_PARSERS = frozenset(("ParseExample", "ParseExampleV2"))
_MAX_NODES = 50_000  # a graph with more is not quick
_MAX_STEPS = 200_000  # nodes that are looked at; a function is looked at once for each kind of arguments


class Sizes(IntEnum):
    """What a size, or a value that may become a size, depends on."""

    SHAPES = 0
    """Only on constants and on the shapes of the inputs."""
    CONTENTS = 1
    """On the values of the inputs, within what their bytes can hold: the number of words of a text."""
    VALUES = 2
    """On the values of the inputs: a few bytes may ask for any size."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the size of a tensor depends on, and its values."""

    size: Sizes
    values: Sizes
    is_small: bool = False
    """Whether it is a constant, a number of at most a million."""

    def join(self, other: Kind) -> Kind:
        """The kind of a tensor that is one of two."""
        return Kind(max(self.size, other.size), max(self.values, other.values), self.is_small and other.is_small)


Kinds = tuple[Kind, ...]
_CONSTANT, _SMALL = Kind(Sizes.SHAPES, Sizes.SHAPES), Kind(Sizes.SHAPES, Sizes.SHAPES, is_small=True)
_INPUT = Kind(Sizes.SHAPES, Sizes.VALUES)
_UNKNOWN = Kind(Sizes.VALUES, Sizes.VALUES)


@dataclass(slots=True)
class _Node:
    op: str
    inputs: list[str]
    """Names of nodes or arguments with the number of the output; without control inputs."""
    functions: tuple[str, ...]
    has_strings: bool
    has_counted: bool
    """Whether an operation that parses examples has outputs that are not dense."""
    is_small: bool
    """Whether it is a constant, a number of at most a million."""


@dataclass(slots=True)
class _Body:
    """A function, or the graph."""

    nodes: dict[str, _Node] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


class _TooComplexError(Exception):
    """The graph is too large to be followed, or does not fit together."""


class SizeAnalysis:
    """The nodes and functions of one graph. Add all of them, then ask for signatures."""

    def __init__(self) -> None:
        self._bodies: dict[str | None, _Body] = {None: _Body()}
        self._nodes = self._steps = 0
        self._found: dict[tuple[str | None, Kinds], tuple[Kinds, Sizes]] = {}

    def add_node(self, node: protos.NodeDef, function: str | None = None) -> None:
        """Add a node of a function (None: of the graph itself)."""
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            return
        inputs = [name for name in node.input if not name.startswith("^")]
        attributes = node.attr
        op = node.op
        functions: tuple[str, ...] = ()
        if op in size_rules.CALLS:
            functions = (attributes[size_rules.CALLS[op]].func.name,)
        elif op in size_rules.BRANCHES:
            functions = tuple(_called(attributes, size_rules.BRANCHES[op]))
        elif op in size_rules.LOOPS:
            functions = (attributes["cond"].func.name, attributes["body"].func.name)
        has_strings = op in size_rules.REPEATING and any(
            value.type == dtypes.STRING.number for value in attributes.values()
        )
        has_strings |= op == "StringJoin"
        has_counted = op in _PARSERS and any(
            attributes[name].i or attributes[name].list.type
            for name in ("num_sparse", "Nsparse", "sparse_types", "ragged_value_types")
            if name in attributes
        )
        is_small = op == "Const" and _is_small(attributes["value"].tensor)
        if op == "Cast" and attributes["SrcT"].type == dtypes.BOOL.number:
            op = size_rules.CAST_FROM_BOOL
        body = self._bodies.setdefault(function, _Body())
        body.nodes[node.name] = _Node(op, inputs, functions, has_strings, has_counted, is_small)

    def add_function(self, function: protos.FunctionDef) -> None:
        """Add a function, without its nodes."""
        body = self._bodies.setdefault(function.signature.name, _Body())
        body.arguments = tuple(argument.name for argument in function.signature.input_arg)
        body.results = tuple(function.ret[argument.name] for argument in function.signature.output_arg)

    def sizes(self, tensors: Iterable[str]) -> Sizes:
        """What the sizes of all tensors in a run that fetches these depend on."""
        if self._nodes > _MAX_NODES:
            return Sizes.VALUES
        try:
            return self._evaluate(self._bodies[None], tuple(tensors), {})[1]
        except (_TooComplexError, RecursionError):
            return Sizes.VALUES

    def _call(self, function: str, arguments: Kinds) -> tuple[Kinds, Sizes]:
        """The kinds of a function's results, and what the sizes in it depend on."""
        found = self._found.get((function, arguments))
        if found is None:
            body = self._bodies.get(function)
            if body is None or len(body.arguments) != len(arguments):
                raise _TooComplexError
            by_name = dict(zip(body.arguments, arguments, strict=True))
            found = self._found[function, arguments] = self._evaluate(body, body.results, by_name, all_nodes=True)
        return found

    def _evaluate(
        self, body: _Body, results: Sequence[str], arguments: Mapping[str, Kind], *, all_nodes: bool = False
    ) -> tuple[Kinds, Sizes]:
        """The kinds of the results of a body, and what the sizes of all tensors depend on that they need."""
        kinds: dict[str, Kinds] = {name: (kind,) for name, kind in arguments.items()}
        largest = Sizes.SHAPES
        pending = [_name(result) for result in results]
        if all_nodes:
            pending += body.nodes
        begun: set[str] = set()
        while pending:
            name = pending[-1]
            if name in kinds:
                pending.pop()
                continue
            node = body.nodes.get(name)
            if node is None:
                raise _TooComplexError
            if name not in begun:
                begun.add(name)
                missing = [other for other in map(_name, node.inputs) if other not in kinds]
                if any(other in begun for other in missing):
                    raise _TooComplexError  # a cycle: a loop of TensorFlow 1
                if missing:
                    pending += missing
                    continue
            pending.pop()
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise _TooComplexError
            kinds[name], inner = self._outputs(node, tuple(_kind(kinds, reference) for reference in node.inputs))
            largest = max(largest, inner, *(kind.size for kind in kinds[name]))
        return tuple(_kind(kinds, result) for result in results), largest

    def _outputs(self, node: _Node, inputs: Kinds) -> tuple[Kinds, Sizes]:
        """The kinds of a node's outputs (a single one if they are alike), and what sizes within it depend on."""
        if node.op in size_rules.CALLS:
            return self._call(node.functions[0], inputs)
        if node.op in size_rules.BRANCHES:
            return self._branches(node, inputs)
        if node.op in size_rules.LOOPS:
            return self._loop(node, inputs)
        if node.op in ("IdentityN", "ReadVariableOp"):
            return inputs, Sizes.SHAPES
        if node.op in self._bodies:
            kinds, inner = self._call(node.op, inputs)
            return (_joined(kinds),), inner
        return (_output(node, inputs),), Sizes.SHAPES

    def _branches(self, node: _Node, inputs: Kinds) -> tuple[Kinds, Sizes]:
        """The kinds of what one of several functions returns, chosen by the first input."""
        least = min(inputs[0].values, Sizes.CONTENTS)
        found = [self._call(function, inputs[1:]) for function in node.functions]
        outputs = zip(*(kinds for kinds, _ in found), strict=True)
        return (
            tuple(_joined((*kinds, Kind(least, least))) for kinds in outputs),
            max(inner for _, inner in found),
        )

    def _loop(self, node: _Node, state: Kinds) -> tuple[Kinds, Sizes]:
        """The kinds of a loop's state after any number of iterations."""
        condition, body = node.functions
        while True:
            (again, *_), inner = self._call(condition, state)
            least = min(again.values, Sizes.CONTENTS)
            after, inner_of_body = self._call(body, state)
            inner = max(inner, inner_of_body)
            joined = tuple(old.join(new).join(Kind(least, least)) for old, new in zip(state, after, strict=True))
            if joined == state:
                # A loop whose number of iterations is a value of the request takes any time.
                return state, max(inner, again.values)
            state = joined


def _output(node: _Node, inputs: Kinds) -> Kind:
    """The kind of the outputs of an operation that calls no function."""
    op = node.op
    if op in size_rules.FIXED:
        return _SMALL if node.is_small else _CONSTANT
    if op in ("Identity", "Cast"):
        return inputs[0]
    if op in size_rules.INPUTS:
        return _INPUT
    known = (
        op in size_rules.PLAIN
        or op == size_rules.CAST_FROM_BOOL
        or op in size_rules.SIZED
        or op in size_rules.SHRINKING
        or op in size_rules.COUNTED
    )
    if not (known or op in size_rules.SHAPES):
        return _UNKNOWN
    size = max((kind.size for kind in inputs), default=Sizes.SHAPES)
    values = [kind.values for kind in inputs]
    if op in size_rules.SHAPES:
        return Kind(size if size is Sizes.VALUES else Sizes.SHAPES, size)
    is_constant = max(values, default=Sizes.SHAPES) is Sizes.SHAPES
    if op in size_rules.SIZED:
        size = max(size, *_at(values, _sizing(op, len(values))))
    if op in size_rules.SHRINKING and max(_at(values, size_rules.SHRINKING[op])) > Sizes.SHAPES:
        size = max(size, Sizes.CONTENTS)
    is_counted = node.has_counted if op in _PARSERS else op in size_rules.COUNTED
    if not is_constant and (node.has_strings or is_counted):
        size = max(size, Sizes.CONTENTS)
    if op == "Minimum" and any(kind.is_small or kind.values is Sizes.CONTENTS for kind in inputs) and not is_constant:
        return Kind(size, Sizes.CONTENTS)
    return Kind(size, _values(op, values, is_constant=is_constant))


def _sizing(op: str, count: int) -> Iterable[int]:
    """The inputs whose values decide about the output's size."""
    if op in ("DynamicStitch", "ParallelDynamicStitch"):
        return range(count // 2)  # the indices; the other half is the data
    return size_rules.SIZED[op]


def _values(op: str, values: Sequence[Sizes], *, is_constant: bool) -> Sizes:
    if op in size_rules.RANDOM:
        return Sizes.VALUES
    if is_constant:
        return Sizes.SHAPES
    if op in size_rules.BOUNDED:
        return Sizes.CONTENTS
    if op in _SELECTIONS:
        return max(*values[1:], Sizes.CONTENTS)
    return max(values) if op in size_rules.ARITHMETIC else Sizes.VALUES


def _at(values: Sequence[Sizes], indices: Iterable[int]) -> list[Sizes]:
    """Some of the values; those of inputs that an operation lacks are unknown."""
    return [values[index] if index < len(values) else Sizes.VALUES for index in indices]


def _joined(kinds: Iterable[Kind]) -> Kind:
    joined = _CONSTANT
    for kind in kinds:
        joined = joined.join(kind)
    return joined


def _name(reference: str) -> str:
    """The node in a reference to an output: `node`, `node:1`, or in a function `node:output:1`."""
    return reference.partition(":")[0]


def _kind(kinds: Mapping[str, Kinds], reference: str) -> Kind:
    """The kind of an output of a node, or of an argument."""
    name, _, rest = reference.partition(":")
    outputs = kinds[name]
    if len(outputs) == 1:
        return outputs[0]
    index = rest.rpartition(":")[2] or "0"
    return outputs[int(index)] if index.isdecimal() and int(index) < len(outputs) else _UNKNOWN


def _is_small(value: protos.TensorProto) -> bool:
    """Whether a constant is one integer of at most a million."""
    if value.dtype not in (dtypes.INT32.number, dtypes.INT64.number) or value.tensor_shape.dim:
        return False
    if value.tensor_content:
        return 0 <= int.from_bytes(value.tensor_content, "little", signed=True) <= _MAX_SMALL
    numbers = value.int_val or value.int64_val
    return not numbers or 0 <= numbers[0] <= _MAX_SMALL


def _called(attributes: Mapping[str, protos.AttrValue], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        value = attributes[name]
        if value.HasField("func"):
            yield value.func.name
        else:
            for function in value.list.func:
                yield function.name
