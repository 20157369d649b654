"""`tfsctl regress`: make examples of what was typed, ask for values, print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli import _options
from tfsctl.cli._connection import asks_a_server
from tfsctl.cli._show import can_show
from tfsctl.cli._target import Asked

if TYPE_CHECKING:
    from tfsctl.core.inference import Inference
    from tfsctl.core.types import ModelMetadata, ModelRef


@asks_a_server
@can_show
def regress(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="FEATURE=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    asked: Asked,
    named: _options.Named = None,
    signature: _options.Signatures = None,
    raw: _options.Raw = False,
    as_json: _options.Json = False,
) -> None:
    """Ask a model for the value of examples.

    Each row of features becomes a tf.Example: 2.0 is a float, 2 a whole number, anything else text. Several signatures
    are one call over gRPC (MultiInference).

    \b
    Examples:
      tfsctl regress area=120.5 city=Bern
      tfsctl regress --signature regress_x_to_y --signature regress_x_to_y2 x=2.0 --grpc
      tfsctl regress '{"examples": [{"x": 1.0}, {"x": 2.0}]}' --json
      tfsctl regress x=1.0 x=2.0
    """
    from tfsctl.cli import _infer, _output, _raw
    from tfsctl.cli._arguments import read_body, read_texts, refuse_beside
    from tfsctl.cli._classes import View
    from tfsctl.cli._pinned import ask_pinned
    from tfsctl.cli._target import find_target
    from tfsctl.core.features import read_examples
    from tfsctl.engines import registry

    if raw:
        refuse_beside("--raw", input=named, signature=signature)
        _raw.post(asked, "regress", read_body(inputs))
        return
    examples = read_examples(read_texts(inputs, named), named or ())
    view = View()
    target = find_target(asked, registry.running())
    with target.connect() as client:

        def ask(served: ModelMetadata, model: ModelRef) -> list[Inference]:
            tasks = _infer.choose_tasks(served, "regress", signature or ())
            return _infer.ask(client, model, examples, tasks)

        answers = ask_pinned(client, target, ask)
    if as_json:
        _output.answer_json(_infer.document(answers, view))
    else:
        _infer.show(answers, view)
