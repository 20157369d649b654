"""`tfsctl predict`: shape what was typed to the model, ask, print the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.files import Files, refuse_typed, takes_files
from tfsctl.cli.options.target import Asked
from tfsctl.cli.snippets import can_show

if TYPE_CHECKING:
    from tfsctl.cli.output.classes import View
    from tfsctl.core.types import ModelMetadata, ModelRef, Prediction


@takes_files
@asks_a_server
@can_show
def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="Text, numbers, NAME=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    asked: Asked,
    files: Files,
    named: shared_options.Named = None,
    signature: shared_options.Signature = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="OUTPUT", help="Answer with this output alone; may be repeated."),
    ] = None,
    labels: shared_options.Labels = None,
    top: shared_options.Top = None,
    raw: shared_options.Raw = False,
    as_json: shared_options.Json = False,
) -> None:
    """Ask a model for its answer to what you type.

    The model tells its signature first, and what you type is shape_rows to it: each argument, or each line of stdin, is a
    row. A mismatch is explained before anything is sent. One server that tfsctl started is found by itself.

    \b
    Examples:
      tfsctl predict "This movie is great! :D"
      tfsctl predict --grpc 1 2 -3.5
      tfsctl predict area=120 city=Bern
      tfsctl predict -i image=@cat.jpg --labels imagenet.txt --top 5
      tfsctl predict '{"instances": [1.0, 2.0]}' --json
      tfsctl predict --model amazon_review < reviews.txt
      tfsctl predict --grpc --file reviews.csv --output scores.csv
    """
    from tfsctl.cli.inference import raw as raw_request
    from tfsctl.cli.inference.pinned_version import ask_pinned
    from tfsctl.cli.options.arguments import read_body, read_texts, refuse_beside
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.output import predictions, terminal
    from tfsctl.cli.output.classes import View, read_labels
    from tfsctl.engines.registry import records
    from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature, shape_inputs
    from tfsctl.inputs.typed import asked_signature

    if raw:
        refuse_beside("--raw", input=named, only=only, labels=labels, top=top, file=files.file, output=files.output)
        raw_request.post(asked, "predict", read_body(inputs))
        return
    view = View(read_labels(labels) if labels else (), top)
    if files.file is not None:
        from tfsctl.cli.inference.bulk import predict_file

        refuse_typed(inputs, named)
        target = find_target(asked, records.running())
        with target.connect() as client:
            predict_file(client, target.model, signature, files, as_json=as_json, only=only or (), view=view)
        return
    if files.output is not None:
        from tfsctl.data.results import check_output

        check_output(files.output)
    texts = read_texts(inputs, named)
    target = find_target(asked, records.running())
    with target.connect() as client:

        def ask(served: ModelMetadata, model: ModelRef) -> Prediction:
            chosen = choose_signature(served, signature or asked_signature(texts))
            outputs = choose_outputs(chosen, only) if only else ()
            arrays = shape_inputs(texts, chosen, named or ())
            answered = client.predict(model, arrays, signature=chosen.name, outputs=outputs)
            return (
                replace(answered, outputs={name: answered.outputs[name] for name in outputs}) if outputs else answered
            )

        prediction = ask_pinned(client, target, ask)
    if files.output is not None:
        from tfsctl.cli.output.class_columns import class_columns
        from tfsctl.data.results import write_results

        write_results(files.output, class_columns(prediction.outputs, view))
    elif as_json:
        terminal.answer_json(predictions.document(prediction, view))
    else:
        _show(prediction, view)


def _show(prediction: Prediction, view: View) -> None:
    """Print the answer: drawn for people, a record a line for programs."""
    from tfsctl.cli.output import predictions, terminal

    if not terminal.answers_people():
        for cells in predictions.plain_rows(prediction, view):
            terminal.answer("\t".join(cells))
    elif (lines := predictions.drawn_lines(prediction, view)) is not None:
        for line in lines:
            terminal.answer(line)
    else:
        terminal.answer_table(*predictions.drawn_table(prediction, view))
