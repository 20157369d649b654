"""The `tfsctl` command: Typer subcommands, and the one place that turns errors into exit codes."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Annotated

import typer

from tfsctl.cli.registry import CommandsByName
from tfsctl.errors import ExitCode, TfsctlError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

app = typer.Typer(
    name="tfsctl",
    cls=CommandsByName,
    help="Take a TensorFlow model from a Python file to answers: export, serve, query.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"tfsctl {version('tfsctl')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of a failure.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take a TensorFlow model from a Python file to answers: export, serve, query."""
    from tfsctl.cli.output import terminal

    terminal.verbose = verbose


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; the only place that decides exit codes."""
    from tfsctl.cli.output import terminal

    terminal.prepare_streams()
    try:
        app(args=None if argv is None else list(argv), prog_name="tfsctl")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TfsctlError as error:
        return terminal.report(error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except terminal.OutputClosed:
        return ExitCode.OK
    except OSError as error:
        if error.errno not in _FULL:
            return terminal.report_bug(error)
        return terminal.report(TfsctlError(f"cannot write {error.filename or 'to disk'}: {error.strerror}"))
    except Exception as error:  # noqa: BLE001 - the one door for bugs
        return terminal.report_bug(error)
    return ExitCode.OK
