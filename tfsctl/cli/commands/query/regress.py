"""`tfsctl regress`: make examples of what was typed, ask for values, print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.target import Asked
from tfsctl.cli.snippets import can_show

if TYPE_CHECKING:
    from tfsctl.core.inference import InferenceResult
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
    named: shared_options.Named = None,
    signature: shared_options.Signatures = None,
    raw: shared_options.Raw = False,
    as_json: shared_options.Json = False,
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
    from tfsctl.cli.inference import examples as inference_examples
    from tfsctl.cli.inference import raw as raw_request
    from tfsctl.cli.inference.pinned_version import ask_pinned
    from tfsctl.cli.options.arguments import read_body, read_texts, refuse_beside
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.output import terminal
    from tfsctl.cli.output.classes import View
    from tfsctl.engines.registry import records
    from tfsctl.inputs.features import read_examples

    if raw:
        refuse_beside("--raw", input=named, signature=signature)
        raw_request.post(asked, "regress", read_body(inputs))
        return
    examples = read_examples(read_texts(inputs, named), named or ())
    view = View()
    target = find_target(asked, records.running())
    with target.connect() as client:

        def ask(served: ModelMetadata, model: ModelRef) -> list[InferenceResult]:
            tasks = inference_examples.choose_tasks(served, "regress", signature or ())
            return inference_examples.ask(client, model, examples, tasks)

        answers = ask_pinned(client, target, ask)
    if as_json:
        terminal.answer_json(inference_examples.document(answers, view))
    else:
        inference_examples.show(answers, view)
