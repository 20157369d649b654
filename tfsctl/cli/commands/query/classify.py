"""`tfsctl classify`: build tf.Examples from the arguments, classify them, print classes and scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.inference_options import NamedInputsOption, RawOption, SignaturesOption, StdinFormatOption
from tfsctl.cli.options.output_options import ClassLabelsOption, JsonOption, TopOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.snippets.show_options import takes_show_options

if TYPE_CHECKING:
    from tfsctl.core.inference import InferenceTask
    from tfsctl.core.types import ModelMetadata


@takes_server_options
@takes_show_options
def classify(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT…", help="FEATURE=VALUE or JSON; `-` reads lines from stdin."),
    ] = None,
    *,
    options: ServerOptions,
    named: NamedInputsOption = None,
    signature: SignaturesOption = None,
    regress: Annotated[
        list[str] | None,
        typer.Option("--regress", metavar="NAME", help="Also run this regression signature. May be repeated."),
    ] = None,
    labels: ClassLabelsOption = None,
    top: TopOption = None,
    stdin_format: StdinFormatOption = None,
    raw: RawOption = False,
    as_json: JsonOption = False,
) -> None:
    """Send features to a model and print the classes.

    Each argument, or each line of stdin, becomes a tf.Example. A value such as 2.0 becomes a float feature, 2 an int64
    feature, and any other value a bytes feature. Over gRPC, several signatures are sent in one MultiInference request.

    \b
    Examples:
      tfsctl classify age=42 city=Bern --top 3
      tfsctl classify --signature classify_x_to_y x=2.0
      tfsctl classify --signature classify_x_to_y --regress regress_x_to_y x=2.0 --grpc
      tfsctl classify -i image=@cat.jpg --labels labels.txt
      tfsctl classify '{"examples": [{"x": 1.0}, {"x": 2.0}]}' --json
    """
    from tfsctl.cli.inference import classify_regress, raw_request
    from tfsctl.cli.options.input_arguments import read_request_body, refuse_with
    from tfsctl.cli.output.class_scores import ClassOptions, read_labels
    from tfsctl.clients.example_tasks import choose_tasks

    if raw:
        refuse_with(
            "--raw", input=named, signature=signature, format=stdin_format, regress=regress, labels=labels, top=top
        )
        raw_request.post(options, "classify", read_request_body(inputs))
        return
    examples = classify_regress.read_inputs(inputs, named, stdin_format)
    class_options = ClassOptions(read_labels(labels) if labels else (), top)

    def choose(served: ModelMetadata) -> list[InferenceTask]:
        tasks = choose_tasks(served, "classify", signature or ())
        return tasks + (choose_tasks(served, "regress", regress) if regress else [])

    answers = classify_regress.request(options, examples, choose)
    classify_regress.print_answers(answers, class_options, as_json=as_json)
