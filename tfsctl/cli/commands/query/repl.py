"""`tfsctl repl`: query a model interactively, or with lines from a pipe."""

from __future__ import annotations

import typer

from tfsctl.cli.options.inference_options import SignatureOption
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options


@takes_server_options
def repl(
    *,
    options: ServerOptions,
    signature: SignatureOption = None,
    as_json: JsonOption = False,
) -> None:
    """Query a model interactively: type inputs, read predictions.

    Lines are converted like the arguments of `tfsctl predict`. A line that begins with a colon is a command: :help
    lists the commands, and :q quits. Begin a line with :: to send input that begins with a colon. Tab completes names,
    and the history is kept.

    If stdin is a pipe, no prompt is printed. Each prediction is one line on stdout, and the exit code is that of the
    first failure.

    \b
    Examples:
      tfsctl repl
      tfsctl repl --model amazon_review --grpc
      tfsctl repl < conversation.txt
    """
    from tfsctl.cli.repl.conversation import converse

    raise typer.Exit(converse(options, signature=signature, as_json=as_json))
