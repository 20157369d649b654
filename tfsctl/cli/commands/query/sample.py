"""`tfsctl sample`: print an example request that fits a model's signature."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.inference_options import SignatureOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.core.graphs.feature_specs import FeatureSpecs
    from tfsctl.core.types import Signature


@takes_server_options
def sample(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|PATH]",
            autocompletion=complete_models,
            help="The name of a running model, or the directory of a model.",
        ),
    ] = None,
    *,
    options: ServerOptions,
    signature: SignatureOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the request to a file (default: stdout)."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the --output file if it exists.")] = False,
) -> None:
    """Print an example request for a model.

    Prints the JSON body of a REST request with one row of example values. Edit it and send it with curl or
    `tfsctl predict --raw`.

    \b
    Examples:
      tfsctl sample
      tfsctl sample amazon_review | tfsctl predict --raw
      tfsctl sample ./house_price --output request.json
    """
    from tfsctl.cli.inference.model_description import describe_model, describe_named
    from tfsctl.core.inference import METHODS
    from tfsctl.core.types import ModelMetadata
    from tfsctl.inputs.predict_inputs import choose_signature
    from tfsctl.inputs.tf_examples import features_in

    description = (
        describe_model(options, None) if which is None else describe_named(options, which, None, command="sample")
    )
    chosen = choose_signature(
        ModelMetadata(description.facts["model"], description.facts["version"], description.signatures), signature
    )
    verb = next((method for method in METHODS if chosen.method_name == f"tensorflow/serving/{method}"), "predict")
    body = _body(chosen, verb, features_in(description.directory, chosen))
    if output is None:
        terminal.answer(body)
        return
    _write(output, body, force=force)
    is_served = "address" in description.facts
    model = f"--model {shlex.quote(str(description.facts['model']))} " if is_served else ""
    terminal.say(f"wrote {output}; send it with: tfsctl {verb} {model}--raw < {shlex.quote(str(output))}")


def _body(signature: Signature, verb: str, features: FeatureSpecs | None) -> str:
    """The body of an example request. Raises InvalidInput if the signature parses tf.Examples of unknown features."""
    from tfsctl.core.inference import METHODS, supports_method
    from tfsctl.inputs.example_request import example_body, example_row
    from tfsctl.inputs.tf_examples import is_named_for_examples, placeholder_body

    not_dense = [
        f"{one.name} is a {one.encoding} tensor"
        for one in (*signature.inputs, *signature.outputs)
        if one.encoding != "dense"
    ]
    if not_dense:
        raise InvalidInput(
            f"no request can call {signature.name}: {', '.join(not_dense)}, and requests and responses hold dense tensors"
        )
    if features:
        return placeholder_body(signature, features)
    if verb != "predict" or is_named_for_examples(signature):
        option = "--example " if verb == "predict" else ""
        raise InvalidInput(
            f"{signature.name} parses tf.Examples, and the server does not report their features",
            hint=f"name the features: tfsctl {verb} {option}FEATURE=VALUE",
        )
    similar = next((method for method in METHODS if supports_method(signature, method)), None)
    if similar is not None:
        terminal.say_note(f"if {signature.name} parses tf.Examples, tfsctl predict --example FEATURE=VALUE builds them")
    body = example_body(signature)
    if body is None:
        terminal.say_note("REST does not support every dtype of this signature; use tfsctl predict --grpc")
        return json.dumps({"instances": [example_row(signature)]})
    return body


def _write(output: Path, body: str, *, force: bool) -> None:
    """Write the file. Raises InvalidInput if it exists, unless `force` is set; a device or pipe never counts as existing."""
    from tfsctl.data.writers.whole_file import write_whole_file

    if output.is_file() and not force:
        raise InvalidInput(f"{output} already exists", hint="add --force to overwrite it")
    write_whole_file(output, f"{body}\n".encode())
