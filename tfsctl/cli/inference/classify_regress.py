"""What `classify` and `regress` share: choose the signatures, send the request, print the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import bars, classes, terminal, value_text
from tfsctl.cli.output.classes import ClassOptions, ClassScore
from tfsctl.core.inference import Examples, InferenceResult, InferenceTask, Method, supports_method
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef
from tfsctl.errors import InvalidInput, RequestRejected
from tfsctl.inputs.features import as_float
from tfsctl.inputs.predict_inputs import choose_signature

if TYPE_CHECKING:
    from tfsctl.clients.serving_client import ServingClient

# The error for an integer in a feature of floats. The signature does not tell the type of a feature.
_WANTS_FLOAT = re.compile(r"Key: (?P<name>.+?), Index: .*Data type: int64 but expected type: float")


def infer(
    client: ServingClient, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]
) -> list[InferenceResult]:
    """Send the tasks. Integers for a feature that turns out to hold floats are converted, and the tasks sent again."""
    try:
        return client.infer(model, examples, tasks)
    except RequestRejected as error:
        match = _WANTS_FLOAT.search(error.message)
        changed = as_float(examples, match["name"]) if match else examples
        if _value_types(changed) == _value_types(examples):
            raise
    return infer(client, model, changed, tasks)


def choose_tasks(served: ModelMetadata, method: Method, names: Sequence[str]) -> list[InferenceTask]:
    """A task for each named signature (default: the signature for this method). Raises NotFound or InvalidInput."""
    if names:
        return [InferenceTask(method, choose_signature(served, name).name) for name in names]
    candidates = [name for name, signature in served.signatures.items() if supports_method(signature, method)]
    if DEFAULT_SIGNATURE in candidates or not candidates:
        return [InferenceTask(method, choose_signature(served, None).name)]
    if len(candidates) > 1:
        raise InvalidInput(
            f"{served.name} has several signatures to {method} with: {', '.join(candidates)}",
            hint="choose with --signature NAME, which may be repeated",
        )
    return [InferenceTask(method, candidates[0])]


def show(answers: Sequence[InferenceResult], class_options: ClassOptions) -> None:
    """Print the answers: bars on a terminal; otherwise one value, or one row number and class, per line."""
    for answer in answers:
        if terminal.is_interactive():
            if len(answers) > 1:
                terminal.answer(answer.task.signature)
            for line in drawn_lines(answer, class_options):
                terminal.answer(line)
        else:
            for cells in plain_rows(answer, class_options):
                terminal.answer("\t".join([answer.task.signature, *cells] if len(answers) > 1 else cells))


def document(answers: Sequence[InferenceResult], class_options: ClassOptions) -> dict[str, Any]:
    """The answers as one JSON value: `results` has for each signature a list with one entry per row."""
    return {
        "model": answers[0].model,
        "version": answers[0].version,
        "results": {answer.task.signature: _results(answer, class_options) for answer in answers},
        "latency_ms": round(max(answer.latency_s for answer in answers) * 1000, 3),
    }


def drawn_lines(answer: InferenceResult, class_options: ClassOptions) -> list[str]:
    """Lines for a terminal: classes, with bars if all scores are from 0 to 1, or values."""
    if answer.task.method == "regress":
        return [value_text.text(value) for value in answer.values]
    return bars.numbered(bars.of_classes(_class_rows(answer, class_options), class_options.top))


def plain_rows(answer: InferenceResult, class_options: ClassOptions) -> list[list[str]]:
    """Rows of cells for programs: a value, or row number, class and score."""
    if answer.task.method == "regress":
        return [[value_text.text(value)] for value in answer.values]
    return [
        [str(number), value_text.escape_controls(one.name), value_text.text(one.score)]
        for number, row in enumerate(_class_rows(answer, class_options), start=1)
        for one in classes.selected_classes(row, class_options)
    ]


def _results(answer: InferenceResult, class_options: ClassOptions) -> list[Any]:
    if answer.task.method == "regress":
        return list(answer.values)
    return [
        [
            {"label": one.label or None, "index": one.index, "score": one.score}
            for one in classes.selected_classes(row, class_options)
        ]
        for row in _class_rows(answer, class_options)
    ]


def _class_rows(answer: InferenceResult, class_options: ClassOptions) -> list[list[ClassScore]]:
    """The classes of each row, with labels from the model, or from --labels if the model gives none."""
    names = class_options.labels
    for row in answer.classes:
        if names and len(row) != len(names) and not all(one.label for one in row):
            raise InvalidInput(f"there are {len(names)} labels, but {answer.task.signature} has {len(row)} classes")
    return [
        [ClassScore(one.label or (names[index] if names else ""), index, one.score) for index, one in enumerate(row)]
        for row in answer.classes
    ]


def _value_types(examples: Examples) -> list[list[type]]:
    """The types of all values, because 1 == 1.0 in Python."""
    return [[type(value) for values in row.values() for value in values] for row in (*examples.rows, examples.context)]
