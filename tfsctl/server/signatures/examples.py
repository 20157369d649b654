"""Classify, Regress and MultiInference: binds their tasks to signatures, and reads their results from the outputs.

The inputs and outputs have fixed names (tensorflow/cc/saved_model/signature_constants.h): `inputs` takes serialized
tf.Examples; a classification has the outputs `classes` and `scores`, a regression has `outputs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.server.execution.servable import Servable
from tfsctl.server.runtime.session import BoundSignature, Endpoint
from tfsctl.server.status import Code, ServingError, invalid_argument

CLASSIFY_METHOD, REGRESS_METHOD = "tensorflow/serving/classify", "tensorflow/serving/regress"
_INPUTS, _CLASSES, _SCORES, _OUTPUTS = "inputs", "classes", "scores", "outputs"


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of one example, a label and a score for each. Labels are "" and scores 0 if the model has none."""

    labels: tuple[bytes, ...]
    scores: tuple[float, ...]


class ClassRows:
    """The classes of each example, made of the output arrays when they are read: of many examples, some at a time."""

    def __init__(self, labels: np.ndarray | None, scores: np.ndarray | None, shape: tuple[int, int]) -> None:
        self._labels, self._scores, self._shape = labels, scores, shape

    def __len__(self) -> int:
        """The number of examples."""
        return self._shape[0]

    def __getitem__(self, rows: slice) -> list[Classes]:
        """The classes of some examples."""
        count, size = len(range(*rows.indices(len(self)))), self._shape[1]
        labels = [[b""] * size] * count if self._labels is None else self._labels[rows].tolist()
        scores = [[0.0] * size] * count if self._scores is None else self._scores[rows].tolist()
        return [Classes(tuple(row), tuple(values)) for row, values in zip(labels, scores, strict=True)]

    def split(self, size: int) -> list[ClassRows]:
        """The classes in parts, each of `size` examples."""
        shape, labels, scores = (size, self._shape[1]), self._labels, self._scores
        return [
            ClassRows(
                None if labels is None else labels[start : start + size],
                None if scores is None else scores[start : start + size],
                shape,
            )
            for start in range(0, len(self), size)
        ]


class ValueRows:
    """The value of each example, made of the output array when it is read."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __len__(self) -> int:
        """The number of examples."""
        return len(self._values)

    def __getitem__(self, rows: slice) -> list[float]:
        """The values of some examples."""
        values: list[float] = self._values[rows].tolist()
        return values

    def split(self, size: int) -> list[ValueRows]:
        """The values in parts, each of `size` examples."""
        return [ValueRows(self._values[start : start + size]) for start in range(0, len(self), size)]


Results = ClassRows | ValueRows


@dataclass(frozen=True, slots=True)
class BoundTask:
    """A classify or regress task: its signature, bound to the graph of a version."""

    method: str
    signature: str
    input: Endpoint
    outputs: Mapping[str, Endpoint] = field(default_factory=dict)

    def result(self, arrays: Mapping[str, np.ndarray], examples: int) -> Results:
        """The results of this task, one for each example. `arrays` are the fetched arrays by tensor name."""
        own = {key: arrays[endpoint.tensor_name] for key, endpoint in self.outputs.items()}
        return _classes(own, examples) if self.method == CLASSIFY_METHOD else _values(own[_OUTPUTS], examples)


def bind_task(servable: Servable, method: str, signature: str, *, check_method_name: bool) -> BoundTask:
    """Bind a task to a signature. Raises INVALID_ARGUMENT if the signature does not fit the method.

    With `check_method_name`, a signature that was exported for another method is refused too.
    """
    name = signature or DEFAULT_SIGNATURE
    bound = servable.signature(name)
    if bound is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    classify = method == CLASSIFY_METHOD
    kind = "classification" if classify else "regression"
    definition = servable.session.signature_defs[name]
    if check_method_name and definition.method_name != method:
        raise invalid_argument(f"Expected {kind} signature method_name to be {method}. Was: {definition.method_name}")
    if len(bound.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    _check_output_count(bound, classify=classify)
    if _INPUTS not in bound.inputs:
        raise invalid_argument(f"No {kind} inputs found in SignatureDef: {_debug_string(definition)}")
    keys = (_CLASSES, _SCORES) if classify else (_OUTPUTS,)
    outputs = {key: bound.outputs[key] for key in keys if key in bound.outputs}
    if not outputs:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {_debug_string(definition)}"
            if classify
            else f"No regression outputs found in SignatureDef: {_debug_string(definition)}"
        )
    return BoundTask(method, name, bound.inputs[_INPUTS], outputs)


def _debug_string(definition: protos.SignatureDef) -> str:
    """A message as protobuf's C++ DebugString prints it, with its prefix."""
    return f"goo.gle/debugonly   \n{definition}"


def _check_output_count(bound: BoundSignature, *, classify: bool) -> None:
    count = len(bound.outputs)
    if classify and count not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {count}")
    if not classify and count != 1:
        raise invalid_argument("Expected one output Tensor.")


async def run(
    servable: Servable, tasks: Sequence[BoundTask], examples: np.ndarray, *, deadline_s: float | None
) -> list[Results]:
    """Run all tasks in one run, each on the same examples. Returns the results in the order of the tasks."""
    feeds, fetches = _feeds_and_fetches(tasks, examples)
    return _results(tasks, examples, fetches, await servable.run(feeds, fetches, deadline_s=deadline_s))


def run_now(servable: Servable, tasks: Sequence[BoundTask], examples: np.ndarray) -> list[Results]:
    """Like `run`, on this thread and regardless of the queue."""
    feeds, fetches = _feeds_and_fetches(tasks, examples)
    return _results(tasks, examples, fetches, servable.run_now(feeds, fetches))


def _feeds_and_fetches(
    tasks: Sequence[BoundTask], examples: np.ndarray
) -> tuple[list[tuple[Endpoint, np.ndarray]], Sequence[Endpoint]]:
    """The feeds and fetches of all tasks, each tensor once."""
    feeds = {task.input.tensor_name: task.input for task in tasks}
    fetches = {endpoint.tensor_name: endpoint for task in tasks for endpoint in task.outputs.values()}
    return [(feeds[name], examples) for name in sorted(feeds)], list(fetches.values())


def _results(
    tasks: Sequence[BoundTask], examples: np.ndarray, fetches: Sequence[Endpoint], arrays: Sequence[np.ndarray]
) -> list[Results]:
    by_tensor = {endpoint.tensor_name: array for endpoint, array in zip(fetches, arrays, strict=True)}
    return [task.result(by_tensor, len(examples)) for task in tasks]


def _classes(outputs: Mapping[str, np.ndarray], examples: int) -> ClassRows:
    for key, array in outputs.items():
        wanted = dtypes.STRING if key == _CLASSES else dtypes.FLOAT
        if array.ndim != 2:
            shape = ",".join(map(str, array.shape))
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got [{shape}]")
        found = dtypes.from_numpy(array.dtype)
        if found is not wanted:
            raise invalid_argument(f"Expected {key} Tensor of {wanted.enum_name}. Got: {found.enum_name}")
        if array.shape[0] != examples:
            raise invalid_argument(f"Expected {key} output batch size of {examples}. Got: {array.shape[0]}")
    sizes = [array.shape[1] for array in outputs.values()]
    if len(set(sizes)) > 1:
        raise invalid_argument(f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}")
    return ClassRows(outputs.get(_CLASSES), outputs.get(_SCORES), (examples, sizes[0]))


def _values(array: np.ndarray, examples: int) -> ValueRows:
    if array.ndim != 1 and not (array.ndim == 2 and array.shape[1] == 1):
        shape = ",".join(map(str, array.shape))
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [{shape}]"
        )
    if array.shape[0] != examples:
        raise invalid_argument(f"Input batch size did not match output batch size: {examples} vs. {array.shape[0]}")
    found = dtypes.from_numpy(array.dtype)
    if found is not dtypes.FLOAT:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {found.enum_name}")
    return ValueRows(array.ravel())


def check_tasks(servable: Servable, specs: Iterable[tuple[str, str, str]], *, check_method_name: bool) -> None:
    """Check the tasks of a MultiInference: (model, signature, method). Raises if they cannot be run together."""
    first_model = ""
    seen: set[str] = set()
    for model, signature, method in specs:
        if not model:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        first_model = first_model or model
        if model != first_model:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = signature or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if servable.signature(name) is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if method not in (CLASSIFY_METHOD, REGRESS_METHOD):
            raise ServingError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
        bind_task(servable, method, name, check_method_name=check_method_name)
