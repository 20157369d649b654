"""`tfsctl predict`: convert the arguments to the model's inputs, send one request, print the predictions.

`--file` goes another way: `inference/predict_file.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.file_options import FileOptions, refuse_arguments, takes_file_options
from tfsctl.cli.options.inference_options import (
    ExampleOption,
    NamedInputsOption,
    RawOption,
    SignatureOption,
    TextOption,
)
from tfsctl.cli.options.output_options import ClassLabelsOption, JsonOption, TopOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.snippets.show_options import takes_show_options

if TYPE_CHECKING:
    from tfsctl.cli.inference.predict_arguments import PredictArguments
    from tfsctl.cli.output.class_scores import ClassOptions
    from tfsctl.cli.output.predictions import RowInputs
    from tfsctl.core.graphs.feature_specs import FeatureSpecs
    from tfsctl.core.types import ModelMetadata, ModelRef, Prediction, Signature


@takes_file_options
@takes_server_options
@takes_show_options
def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="Text, numbers, NAME=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    options: ServerOptions,
    files: FileOptions,
    named: NamedInputsOption = None,
    signature: SignatureOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="OUTPUT", help="Print only this output. May be repeated."),
    ] = None,
    labels: ClassLabelsOption = None,
    top: TopOption = None,
    text: TextOption = False,
    example: ExampleOption = False,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send inputs to a model and print its predictions.

    Fetches the model's signature and converts each argument, or each line of stdin, to one row. Input that does not
    fit the signature is refused before anything is sent. If tfsctl started the server, no address is needed.

    \b
    Examples:
      tfsctl predict "This movie is great! :D"
      tfsctl predict --grpc 1 2 -3.5
      tfsctl predict area=120 city=Bern
      tfsctl predict --example trip_miles=1.5 payment=Cash
      tfsctl predict -i image=@cat.jpg --labels imagenet.txt --top 5
      tfsctl predict '{"instances": [1.0, 2.0]}' --json
      tfsctl predict --model amazon_review < reviews.txt
      tfsctl predict --grpc --file reviews.csv --output scores.csv
    """
    from tfsctl.cli.inference.predict_arguments import PredictArguments
    from tfsctl.cli.options.input_arguments import (
        is_stdin,
        read_lines,
        read_request_body,
        refuse_with,
        unescape_arguments,
    )
    from tfsctl.cli.output.class_scores import ClassOptions, read_labels

    if raw:
        from tfsctl.cli.inference import raw_request

        refuse_with("--raw", input=named, only=only, labels=labels, top=top, text=text, example=example)
        refuse_with("--raw", file=files.file, output=files.output)
        raw_request.post(options, "predict", read_request_body(inputs))
        return
    if text:
        refuse_with("--text", example=example)
    if files.output is not None:
        _check_output_file(files.output, files, _files_read(options, labels, named or ()))
    class_options = ClassOptions(read_labels(labels) if labels else (), top)
    if files.file is not None:
        refuse_arguments(inputs, named)
        refuse_with("--file", text=text)
        _predict_file(options, files, signature, only or (), class_options, has_examples=example, as_json=as_json)
        return
    lines = read_lines(inputs, has_encoding_option=True) if is_stdin(inputs, named) else None
    texts = unescape_arguments(inputs or []) if lines is None else []
    arguments = PredictArguments(texts, named or (), lines, as_text=text, as_example=example)
    prediction, sent = _request(options, arguments, signature, only or ())
    if files.output is not None:
        from tfsctl.cli.output.class_columns import class_columns
        from tfsctl.data.writers.results import write_results

        write_results(files.output, class_columns(prediction.outputs, class_options), safe_csv=files.safe_csv)
    else:
        _print(prediction, class_options, sent, as_json=as_json)


def _predict_file(
    options: ServerOptions,
    files: FileOptions,
    signature: str | None,
    output_names: Sequence[str],
    class_options: ClassOptions,
    *,
    has_examples: bool,
    as_json: bool,
) -> None:
    """Predict every row of --file. `has_examples`: the signature must parse tf.Examples (--example)."""
    from tfsctl.cli.inference import example_inputs
    from tfsctl.cli.inference.predict_file import predict_file
    from tfsctl.cli.options.target import find_target
    from tfsctl.data.sources import check_exists
    from tfsctl.engines.registry import records

    check_exists(files.file or "")
    target = find_target(options, records.running())

    def features_of(served: ModelMetadata, chosen: Signature) -> FeatureSpecs | None:
        return example_inputs.parsed_features(target, served, chosen, required=has_examples)

    with target.connect() as client:
        predict_file(
            client,
            target.model,
            signature,
            files,
            as_json=as_json,
            output_names=output_names,
            class_options=class_options,
            features_of=features_of,
        )


def _request(
    options: ServerOptions, arguments: PredictArguments, signature: str | None, output_names: Sequence[str]
) -> tuple[Prediction, RowInputs | None]:
    """Send the arguments in one request. Returns the prediction, and the inputs of its rows for printing."""
    from tfsctl.cli.inference.pinned_version import request_pinned_version
    from tfsctl.cli.options.target import find_target
    from tfsctl.engines.registry import records
    from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature
    from tfsctl.inputs.typed_values import signature_in_body

    target = find_target(options, records.running())
    with target.connect() as client:

        def send(served: ModelMetadata, model: ModelRef) -> tuple[Prediction, RowInputs | None]:
            chosen = choose_signature(served, signature or signature_in_body(arguments.texts))
            outputs = choose_outputs(chosen, output_names) if output_names else ()
            return arguments.predict(client, target, served, model, chosen, outputs)

        return request_pinned_version(client, target, send)


def _check_output_file(output: Path, files: FileOptions, other_inputs: list[Path | str]) -> None:
    """Raise InvalidInput unless the output can be written without losing an input or an earlier run."""
    from tfsctl.data.writers.checkpoints import refuse_interrupted_run
    from tfsctl.data.writers.overwriting import refuse_overwriting
    from tfsctl.data.writers.results import check_output

    check_output(output)
    refuse_overwriting(output, [files.file or "-", *other_inputs])
    if files.file is None:
        refuse_interrupted_run(output)


def _files_read(options: ServerOptions, labels: Path | None, named: Sequence[str]) -> list[Path | str]:
    """The files that the options name as inputs, besides --file."""
    tls = options.connection.tls
    paths = [labels, *((tls.ca, tls.cert, tls.key) if tls else ())]
    named_files = [text.partition("@")[2] for text in named if "=@" in text or text.startswith("@")]
    return [*(path for path in paths if path is not None), *named_files]


def _print(prediction: Prediction, class_options: ClassOptions, sent: RowInputs | None, *, as_json: bool) -> None:
    """Print the predictions: as one JSON document, as bars or a table on a terminal, or otherwise one line per row."""
    from tfsctl.cli.output import predictions, terminal

    if as_json:
        terminal.answer_json(predictions.document(prediction, class_options))
    elif not terminal.is_interactive():
        for cells in predictions.plain_rows(prediction, class_options):
            terminal.answer("\t".join(cells))
    elif (lines := predictions.drawn_lines(prediction, class_options, sent)) is not None:
        for line in lines:
            terminal.answer(line)
    else:
        terminal.answer_table(*predictions.drawn_table(prediction, class_options, sent))
