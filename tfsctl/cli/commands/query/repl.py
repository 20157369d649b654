"""`tfsctl repl`: query a model interactively, or with lines from a pipe."""

from __future__ import annotations

import typer

from tfsctl.cli.options.inference_options import SignatureName
from tfsctl.cli.options.output_options import Json
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options


@takes_server_options
def repl(
    *,
    options: ServerOptions,
    signature: SignatureName = None,
    as_json: Json = False,
) -> None:
    """Talk to a model: type an input, read its answer.

    Lines are shaped to the model as `tfsctl predict` does it, and remembered. :help lists the commands, Tab completes,
    :q leaves. With stdin from a pipe there is no prompt: an answer a line on stdout; the exit code tells the first
    failure.

    \b
    Examples:
      tfsctl repl
      tfsctl repl --model amazon_review --grpc
      tfsctl repl < conversation.txt
    """
    from tfsctl.cli.repl.conversation import converse

    raise typer.Exit(converse(options, signature=signature, as_json=as_json))
