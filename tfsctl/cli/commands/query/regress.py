"""`tfsctl regress`: build tf.Examples from the arguments, regress them, print the values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.inference_options import NamedInputsOption, RawOption, SignaturesOption, StdinFormatOption
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.snippets.show_options import takes_show_options

if TYPE_CHECKING:
    from tfsctl.core.inference import InferenceTask
    from tfsctl.core.types import ModelMetadata


@takes_server_options
@takes_show_options
def regress(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="FEATURE=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    options: ServerOptions,
    named: NamedInputsOption = None,
    signature: SignaturesOption = None,
    stdin_format: StdinFormatOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
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
    from tfsctl.cli.options.input_arguments import read_request_body, refuse_with
    from tfsctl.cli.output.class_scores import ClassOptions
    from tfsctl.clients.example_tasks import choose_tasks

    if raw:
        refuse_with("--raw", input=named, signature=signature, format=stdin_format)
        raw_request.post(options, "regress", read_request_body(inputs))
        return
    examples = classify_regress.read_inputs(inputs, named, stdin_format)

    def choose(served: ModelMetadata) -> list[InferenceTask]:
        return choose_tasks(served, "regress", signature or ())

    answers = classify_regress.request(options, examples, choose)
    classify_regress.print_answers(answers, ClassOptions(), as_json=as_json)
