"""`tfsctl regress`: build tf.Examples from the arguments, regress them, print the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.inference_options import InputFormat, NamedInputs, Raw, SignatureNames
from tfsctl.cli.options.output_options import Json
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.snippets.show_options import takes_show_options

if TYPE_CHECKING:
    from tfsctl.core.inference import InferenceResult
    from tfsctl.core.types import ModelMetadata, ModelRef


@takes_server_options
@takes_show_options
def regress(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="FEATURE=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    options: ServerOptions,
    named: NamedInputs = None,
    signature: SignatureNames = None,
    stdin_format: InputFormat = None,
    raw: Raw = False,
    as_json: Json = False,
) -> None:
    """Send features to a model and print the values.

    Each argument, or each line of stdin, becomes a tf.Example. A value such as 2.0 becomes a float feature, 2 an int64
    feature, and any other value a bytes feature. Over gRPC, several signatures are sent in one MultiInference request.

    \b
    Examples:
      tfsctl regress area=120.5 city=Bern
      tfsctl regress --signature regress_x_to_y --signature regress_x_to_y2 x=2.0 --grpc
      tfsctl regress '{"examples": [{"x": 1.0}, {"x": 2.0}]}' --json
      tfsctl regress x=1.0 x=2.0
    """
    from tfsctl.cli.inference import classify_regress, raw_request
    from tfsctl.cli.inference.pinned_version import request_pinned_version
    from tfsctl.cli.options.input_arguments import read_body, refuse_with
    from tfsctl.cli.options.target import find_target
    from tfsctl.cli.output import terminal
    from tfsctl.cli.output.classes import ClassOptions
    from tfsctl.clients import example_tasks
    from tfsctl.engines.registry import records

    if raw:
        refuse_with("--raw", input=named, signature=signature, format=stdin_format)
        raw_request.post(options, "regress", read_body(inputs))
        return
    examples = classify_regress.read_inputs(inputs, named, stdin_format)
    class_options = ClassOptions()
    target = find_target(options, records.running())
    with target.connect() as client:

        def send(served: ModelMetadata, model: ModelRef) -> list[InferenceResult]:
            tasks = example_tasks.choose_tasks(served, "regress", signature or ())
            return example_tasks.infer(client, model, examples, tasks)

        answers = request_pinned_version(client, target, send)
    if as_json:
        terminal.answer_json(classify_regress.document(answers, class_options))
    else:
        classify_regress.show(answers, class_options)
