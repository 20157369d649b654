"""What `classify` and `regress` share: choose the signatures, ask, and show what came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import answers as answer_text
from tfsctl.cli.output import bars, classes, terminal
from tfsctl.cli.output.classes import Class, View
from tfsctl.core.inference import Examples, InferenceResult, InferenceTask, Method, supports_method
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef
from tfsctl.errors import InvalidInput, RequestRejected
from tfsctl.inputs.features import as_float
from tfsctl.inputs.predict_inputs import choose_signature

if TYPE_CHECKING:
    from tfsctl.clients.serving_client import ServingClient

# A whole number typed for a feature of floats: only the graph knows, and says so when it runs.
_WANTS_FLOAT = re.compile(r"Key: (?P<name>.+?), Index: .*Data type: int64 but expected type: float")


def ask(
    client: ServingClient, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]
) -> list[InferenceResult]:
    """The answers to the tasks; whole numbers for a feature that turns out to be of floats are sent again as such."""
    try:
        return client.infer(model, examples, tasks)
    except RequestRejected as error:
        match = _WANTS_FLOAT.search(error.message)
        changed = as_float(examples, match["name"]) if match else examples
        if _kinds(changed) == _kinds(examples):
            raise
    return ask(client, model, changed, tasks)


def choose_tasks(served: ModelMetadata, method: Method, names: Sequence[str]) -> list[InferenceTask]:
    """A task for each signature named; for none the one that is made for the method. Raises NotFound or InvalidInput."""
    if names:
        return [InferenceTask(method, choose_signature(served, name).name) for name in names]
    fitting = [name for name, signature in served.signatures.items() if supports_method(signature, method)]
    if DEFAULT_SIGNATURE in fitting or not fitting:
        return [InferenceTask(method, choose_signature(served, None).name)]
    if len(fitting) > 1:
        raise InvalidInput(
            f"{served.name} has several signatures to {method} with: {', '.join(fitting)}",
            hint="choose with --signature NAME, which may be repeated",
        )
    return [InferenceTask(method, fitting[0])]


def show(answers: Sequence[InferenceResult], view: View) -> None:
    """Print the answers: bars on a terminal; elsewhere a value a line, or a class a line after its row."""
    for answer in answers:
        if terminal.answers_people():
            if len(answers) > 1:
                terminal.answer(answer.task.signature)
            for line in drawn_lines(answer, view):
                terminal.answer(line)
        else:
            for cells in plain_rows(answer, view):
                terminal.answer("\t".join([answer.task.signature, *cells] if len(answers) > 1 else cells))


def document(answers: Sequence[InferenceResult], view: View) -> dict[str, Any]:
    """The answers as one JSON value: `results` has for each signature a list with an entry for each row."""
    return {
        "model": answers[0].model,
        "version": answers[0].version,
        "results": {answer.task.signature: _results(answer, view) for answer in answers},
        "latency_ms": round(max(answer.latency_s for answer in answers) * 1000, 3),
    }


def drawn_lines(answer: InferenceResult, view: View) -> list[str]:
    """Lines for people: classes with bars where their scores are shares, values as they are."""
    if answer.task.method == "regress":
        return [answer_text.text(value) for value in answer.values]
    return bars.numbered(bars.of_classes(_class_rows(answer, view), view.top))


def plain_rows(answer: InferenceResult, view: View) -> list[list[str]]:
    """Lines for programs, in cells: a value, or row, class and score."""
    if answer.task.method == "regress":
        return [[answer_text.text(value)] for value in answer.values]
    return [
        [str(number), answer_text.safe(one.name), answer_text.text(one.score)]
        for number, row in enumerate(_class_rows(answer, view), start=1)
        for one in classes.highest(row, view)
    ]


def _results(answer: InferenceResult, view: View) -> list[Any]:
    if answer.task.method == "regress":
        return list(answer.values)
    return [
        [{"label": one.label or None, "index": one.index, "score": one.score} for one in classes.highest(row, view)]
        for row in _class_rows(answer, view)
    ]


def _class_rows(answer: InferenceResult, view: View) -> list[list[Class]]:
    """The classes of each row. A model that gives scores alone gets its labels from the view, or their numbers."""
    names = view.labels
    for row in answer.classes:
        if names and len(row) != len(names) and not all(one.label for one in row):
            raise InvalidInput(f"there are {len(names)} labels, but {answer.task.signature} has {len(row)} classes")
    return [
        [Class(one.label or (names[index] if names else ""), index, one.score) for index, one in enumerate(row)]
        for row in answer.classes
    ]


def _kinds(examples: Examples) -> list[list[type]]:
    """The kinds of all values: 1 and 1.0 are equal to Python."""
    return [[type(value) for values in row.values() for value in values] for row in (*examples.rows, examples.context)]
