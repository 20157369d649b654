"""`tfsctl predict`: shape what was typed to the model, ask, print the answer."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from tfsctl.cli import _options
from tfsctl.cli._connection import asks_a_server
from tfsctl.cli._target import Asked
from tfsctl.errors import InvalidInput

STDIN = "-"


@asks_a_server
def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT", help="Text, numbers, NAME=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    asked: Asked,
    signature: _options.Signature = None,
    as_json: _options.Json = False,
) -> None:
    """Ask a model for its answer to what you type.

    The model tells its signature first, and what you type is shaped to it: each argument, or each line of stdin, is a
    row. A mismatch is explained before anything is sent. One server that tfsctl started is found by itself.

    \b
    Examples:
      tfsctl predict "This movie is great! :D"
      tfsctl predict --grpc 1 2 -3.5
      tfsctl predict area=120 city=Bern
      tfsctl predict '{"instances": [1.0, 2.0]}' --json
      tfsctl predict --model amazon_review < reviews.txt
    """
    from tfsctl.cli import _answers, _output
    from tfsctl.cli._target import find_target
    from tfsctl.core.inputs import choose_signature, shape_inputs
    from tfsctl.core.typed import asked_signature
    from tfsctl.engines import registry

    texts = _texts(inputs)
    target = find_target(asked, registry.running())
    with target.connect() as client:
        served = client.metadata(target.model)
        chosen = choose_signature(served, signature or asked_signature(texts))
        arrays = shape_inputs(texts, chosen)
        # The version that told its signature is the one asked, whatever is loaded meanwhile.
        exact = target.model if served.version is None else replace(target.model, version=served.version, label=None)
        prediction = client.predict(exact, arrays, signature=chosen.name)
    if as_json:
        _output.answer_json(_answers.document(prediction))
    elif len(prediction.outputs) == 1:
        for (cell,) in _answers.rows(prediction):
            _output.answer(cell)
    else:
        _output.answer_table(_answers.columns(prediction), _answers.rows(prediction))


def _texts(arguments: list[str] | None) -> list[str]:
    """What to predict on: the arguments, else stdin, a row a line or one JSON document."""
    from tfsctl.cli._arguments import typed

    if arguments and arguments != [STDIN]:
        return typed(arguments)
    if not arguments and (sys.stdin is None or sys.stdin.isatty()):
        raise InvalidInput("nothing to predict on", hint='tfsctl predict "some text"; tfsctl metadata tells what fits')
    content = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    if content.lstrip()[:1] in ("{", "[") and _is_json(content):
        return [content]
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []


def _is_json(content: str) -> bool:
    import json

    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True
