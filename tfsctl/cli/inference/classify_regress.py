"""The common part of `classify` and `regress`: read the examples, send the request, print the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tfsctl.cli.inference.pinned_version import request_pinned_version
from tfsctl.cli.options.inference_options import StdinFormat
from tfsctl.cli.options.input_arguments import is_stdin, read_lines, unescape_arguments
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import find_target
from tfsctl.cli.output import bars, class_scores, terminal, value_text
from tfsctl.cli.output.class_scores import ClassOptions, ClassScore
from tfsctl.clients import example_tasks
from tfsctl.core.inference import Examples, InferenceResult, InferenceTask
from tfsctl.core.json_strings import quote_controls
from tfsctl.core.types import ModelMetadata, ModelRef
from tfsctl.engines.registry import records
from tfsctl.errors import InvalidInput
from tfsctl.inputs.features import read_example_lines, read_examples
from tfsctl.inputs.literals import quoted


def read_inputs(arguments: list[str] | None, named: Sequence[str] | None, stdin_format: StdinFormat | None) -> Examples:
    """The examples of the arguments and of `-i`, or of standard input: one per line, or one JSON document.

    Raises InvalidInput for input that is not an example, with the number of the line, and NotFound for a missing file.
    """
    if not is_stdin(arguments, named):
        if stdin_format is not None:
            raise InvalidInput("--format applies to stdin, but the examples are arguments", hint="remove --format")
        return read_examples(unescape_arguments(arguments or []), named or ())
    if named:
        raise InvalidInput("-i cannot be used with -, which reads the examples from stdin", hint="remove one of them")
    lines = read_lines(arguments)
    if stdin_format != "json":
        return read_example_lines(lines, _read_object if stdin_format == "jsonl" else None)
    content = "\n".join(lines)
    if content.lstrip()[:1] not in ("{", "["):
        raise InvalidInput(
            "standard input is not a JSON object or list", hint="remove --format to read lines of FEATURE=VALUE"
        )
    return read_examples([content])


def _read_object(line: str) -> Examples:
    if not line.lstrip().startswith("{"):
        raise InvalidInput(
            f"{quoted(line)} is not a JSON object", hint="remove --format to read lines of FEATURE=VALUE"
        )
    return read_examples([line])


def request(
    options: ServerOptions, examples: Examples, choose_tasks: Callable[[ModelMetadata], list[InferenceTask]]
) -> list[InferenceResult]:
    """Send the examples to the model that the options choose. `choose_tasks` returns what its version is to run."""
    target = find_target(options, records.running())
    with target.connect() as client:

        def send(served: ModelMetadata, model: ModelRef) -> list[InferenceResult]:
            return example_tasks.infer(client, model, examples, choose_tasks(served))

        return request_pinned_version(client, target, send)


def print_answers(answers: Sequence[InferenceResult], class_options: ClassOptions, *, as_json: bool) -> None:
    """Print the answers, as one JSON document with `as_json`."""
    if as_json:
        terminal.answer_json(document(answers, class_options))
    else:
        _print_text(answers, class_options)


def _print_text(answers: Sequence[InferenceResult], class_options: ClassOptions) -> None:
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
        [str(number), quote_controls(one.name), value_text.text(one.score)]
        for number, row in enumerate(_class_rows(answer, class_options), start=1)
        for one in class_scores.selected_classes(row, class_options)
    ]


def _results(answer: InferenceResult, class_options: ClassOptions) -> list[Any]:
    if answer.task.method == "regress":
        return list(answer.values)
    return [
        [
            {"label": one.label or None, "index": one.index, "score": one.score}
            for one in class_scores.selected_classes(row, class_options)
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
