"""`tfsctl classify`: make examples of what was typed, ask for classes, print them with their scores."""

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
def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="FEATURE=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    asked: Asked,
    named: shared_options.Named = None,
    signature: shared_options.Signatures = None,
    regress: Annotated[
        list[str] | None,
        typer.Option("--regress", metavar="NAME", help="Also regress with this signature; may be repeated."),
    ] = None,
    labels: shared_options.Labels = None,
    top: shared_options.Top = None,
    raw: shared_options.Raw = False,
    as_json: shared_options.Json = False,
) -> None:
    """Ask a model for the classes of examples.

    Each row of features becomes a tf.Example: 2.0 is a float, 2 a whole number, anything else text. Several signatures
    are one call over gRPC (MultiInference).

    \b
    Examples:
      tfsctl classify age=42 city=Bern --top 3
      tfsctl classify --signature classify_x_to_y x=2.0
      tfsctl classify --signature classify_x_to_y --regress regress_x_to_y x=2.0 --grpc
      tfsctl classify -i image=@cat.jpg --labels labels.txt
      tfsctl classify '{"examples": [{"x": 1.0}, {"x": 2.0}]}' --json
    """
    from tfsctl.cli.inference import examples as inference_examples
    from tfsctl.cli.inference import raw as raw_request
    from tfsctl.cli.inference.pinned_version import ask_pinned
    from tfsctl.cli.options.arguments import read_body, read_texts, refuse_beside
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.output import terminal
    from tfsctl.cli.output.classes import View, read_labels
    from tfsctl.engines.registry import records
    from tfsctl.inputs.features import read_examples

    if raw:
        refuse_beside("--raw", input=named, signature=signature, regress=regress, labels=labels, top=top)
        raw_request.post(asked, "classify", read_body(inputs))
        return
    examples = read_examples(read_texts(inputs, named), named or ())
    view = View(read_labels(labels) if labels else (), top)
    target = find_target(asked, records.running())
    with target.connect() as client:

        def ask(served: ModelMetadata, model: ModelRef) -> list[InferenceResult]:
            tasks = inference_examples.choose_tasks(served, "classify", signature or ())
            tasks += inference_examples.choose_tasks(served, "regress", regress) if regress else []
            return inference_examples.ask(client, model, examples, tasks)

        answers = ask_pinned(client, target, ask)
    if as_json:
        terminal.answer_json(inference_examples.document(answers, view))
    else:
        inference_examples.show(answers, view)
