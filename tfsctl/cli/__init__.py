"""The `tfsctl` program: `main` runs one command line, and is the only place that turns errors into exit codes.

The commands are listed in `registry.py` and are in `commands/`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.registry import COMMANDS, CONTEXT_SETTINGS, LazyCommandGroup, options_of
from tfsctl.errors import ExitCode, TfsctlError

if TYPE_CHECKING:
    from tfsctl.cli.usage import click_types

_COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__bases__[
    0
]  # Click's UsageError, which Typer does not export
_REQUEST_OPTIONS = ("--model", "--version", "--label", "--host", "--port", "--timeout", "--connect-timeout")
_DISK_FULL_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

app = typer.Typer(
    name="tfsctl",
    cls=LazyCommandGroup,
    help="Take a TensorFlow model from a Python file to production: export, serve, query, roll out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=CONTEXT_SETTINGS,
)


def _print_version(is_given: bool) -> None:
    if is_given:
        from importlib.metadata import version

        typer.echo(f"tfsctl {version('tfsctl')}")
        raise typer.Exit


@app.callback()
def _global_options(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of a failure.")] = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take a TensorFlow model from a Python file to production: export, serve, query, roll out."""
    from tfsctl.cli.output import terminal

    terminal.verbose = verbose


@cache
def root_command() -> click_types.Command:
    """The Click command of `tfsctl`. Calling a Typer app builds its command again each time, in 2 ms."""
    return typer.main.get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; the only place that decides exit codes."""
    from tfsctl.cli.output import terminal

    terminal.prepare_streams()
    try:
        exit_code = root_command()(args=None if argv is None else list(argv), prog_name="tfsctl", standalone_mode=False)
    except _COMMAND_LINE_ERROR as error:
        from tfsctl.cli.usage.usage_errors import usage_error

        return terminal.report_error(usage_error(error, _command(argv)))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except TfsctlError as error:
        return terminal.report_error(_with_possible_hint(_explained(error), _command(argv)))
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    except terminal.OutputClosed:
        return ExitCode.OK
    except (OSError, MemoryError) as error:
        return terminal.report_error(_environment_error(error))
    except Exception as error:  # noqa: BLE001 - anything else is a bug, reported as such
        return terminal.report_bug(error)
    return exit_code if isinstance(exit_code, int) else ExitCode.OK  # the code of typer.Exit


def _command(argv: Sequence[str] | None) -> str:
    """The command that was typed; empty without a command."""
    first = next(iter(sys.argv[1:] if argv is None else argv), "")
    return first if first in COMMANDS else ""


def _explained(error: TfsctlError) -> TfsctlError:
    """The error with the cause and the hint that tfsctl knows for TensorFlow Serving's message, if it has none."""
    if not error.cause and not error.hint:
        from tfsctl.diagnosis.explanations import explain

        known = explain(error.message)
        if known is not None:
            error.cause, error.hint = known.cause, known.hint
    return error


def _with_possible_hint(error: TfsctlError, command: str) -> TfsctlError:
    """The error, whose hint names no options of requests or of `predict --file` that the command does not have."""
    if "--" in error.hint and command:
        from tfsctl.data.file_hints import possible_hint

        options = options_of(command)
        error.hint = _without_request_options(possible_hint(error.hint, options), options)
    return error


def _without_request_options(hint: str, options: Collection[str]) -> str:
    """The hint without its parts that name an option of requests that is missing, unless nothing would be left."""
    parts = hint.split("; ")
    missing = [option for option in _REQUEST_OPTIONS if option not in options]
    possible = [
        part for part in parts if "tfsctl " in part or not any(f"{option} " in f"{part} " for option in missing)
    ]
    return "; ".join(possible or parts)


def _has_working_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _environment_error(error: OSError | MemoryError) -> TfsctlError:
    """The error for a failure of the machine that no command expected: it is not a bug in tfsctl."""
    from tfsctl.cli.output import terminal

    if isinstance(error, MemoryError):
        failure = TfsctlError("this machine does not have enough memory for that")
    elif error.errno == errno.EBADF:  # --help and --version, which Typer prints
        terminal.drop_output()
        failure = TfsctlError("cannot write the answer: stdout is closed")
    elif error.errno in _DISK_FULL_ERRORS:
        terminal.drop_output()
        failure = TfsctlError(f"cannot write {error.filename or 'to disk'}: {error.strerror}")
    elif error.errno == errno.ENOENT and not error.filename and not _has_working_directory():
        failure = TfsctlError("the working directory no longer exists", hint="cd to another directory")
    else:
        place = f"{error.filename}: " if error.filename else ""
        failure = TfsctlError(f"{place}{error.strerror or error}")
    failure.__cause__ = error  # for --verbose
    return failure
