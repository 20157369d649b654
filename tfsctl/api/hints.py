"""Errors as Python programs see them: cause and hint in the traceback, and keyword arguments instead of options."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tfsctl.errors import TfsctlError

# Option of a command -> the keyword argument. Options without one are left as they are.
_KEYWORDS = {
    "ca": "ca",
    "cert": "cert",
    "key": "key",
    "batch-size": "batch_size",
    "concurrency": "concurrency",
    "engine": "engine",
    "format": "format",
    "grpc-port": "grpc_port",
    "label": "label",
    "max-answer": "max_answer_bytes",
    "model": "model",
    "name": "name",
    "only": "outputs",
    "profile": "profile",
    "rest-port": "rest_port",
    "restart": "restart=True",
    "server": "server",
    "signature": "signature",
    "timeout": "timeout_s",
    "tls-server-name": "tls_server_name",
    "to": "to",
    "version": "version",
    "wait-timeout": "wait_timeout_s",
}
_FILE_OPTIONS = ("--column", "--format", "--signature")  # of `predict --file`, with a keyword argument
_COLUMN = re.compile(r"--column ([^=\s]+)=(\S+)")
_OPTION = re.compile(r"--([a-z][a-z-]*)(?:[ =]([A-Z][A-Z_]*|embedded|docker|[\w.]*\d[\w.]*)(?=[\s,;?)]|$))?(?!\S*=)")
_MODEL = r"(?: --model (?:'[^']*'|\S+))?"  # the one of the client
_EXAMPLE_COMMAND = re.compile(rf"\btfsctl (classify|regress){_MODEL} FEATURE=VALUE")
_REQUEST_COMMAND = re.compile(
    rf"\btfsctl (predict|classify|regress){_MODEL}(?: --signature (\S+))?(?: [^-\s;,)][^;,)]*)?(?=[;,)]|$)"
)
_SERVE_COMMAND = re.compile(r"^tfsctl serve (\S+)$")
_ONLY_OPTION = re.compile(r"^--([a-z-]+) (\S+)$")
_TRANSPORT = re.compile("^(?:add|remove) --grpc, or give the (?:REST|gRPC) port: --port (\\S+)")
_COMMAND = re.compile(r"^(?:tfsctl|docker|pip) |\btfsctl [a-z]+")
_UNQUOTED = (  # keyword arguments whose values are numbers
    "batch_size",
    "concurrency",
    "grpc_port",
    "max_answer_bytes",
    "rest_port",
    "timeout_s",
    "version",
    "wait_timeout_s",
)
_SUGGESTED = re.compile(r"^did you mean --([a-z-]+) (\S+)\?$")


@contextmanager
def python_errors() -> Iterator[None]:
    """Prepare a TfsctlError that leaves the block for a traceback.

    - Options of commands in its hint become keyword arguments.
    - Its cause and hint become notes, which Python 3.11 and later print below the message. In Python 3.10 they become
      part of `str(error)`.
    - The traceback shows this error only. `error.__context__` is the error of the library below it.
    """
    try:
        yield
    except TfsctlError as error:
        error.hint = python_hint(error.hint)
        _add_notes(error)
        error.__cause__, error.__suppress_context__ = None, True
        raise


def _add_notes(error: TfsctlError) -> None:
    notes = [text for text in (error.cause, error.hint and f"hint: {error.hint}") if text]
    if sys.version_info < (3, 11):
        error.args = ("\n".join([error.message, *notes]),)
        return
    for note in notes:
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def python_hint(hint: str) -> str:
    """Return a hint with keyword arguments instead of options. Commands, such as `tfsctl serve PATH`, stay as they are.

    >>> python_hint("--timeout SECONDS waits longer")
    'timeout_s=SECONDS waits longer'
    >>> python_hint("did you mean --signature classify?")
    'did you mean signature="classify"?'
    """
    if "--" in hint:
        from tfsctl.data.file_hints import possible_hint

        hint = possible_hint(hint, _FILE_OPTIONS)
    only = _ONLY_OPTION.match(hint)
    if only is not None and only[1] in _KEYWORDS:
        return _argument(only[1], only[2])
    if served := _SERVE_COMMAND.match(hint):
        return f'tfsctl.serve("{served[1]}")'
    suggested = _SUGGESTED.match(hint)
    if suggested is not None and suggested[1] in _KEYWORDS:
        return f"did you mean {_argument(suggested[1], suggested[2])}?"
    hint = _EXAMPLE_COMMAND.sub(r'client.\1({"FEATURE": VALUE})', hint)
    hint = _REQUEST_COMMAND.sub(_request, hint)
    hint = _TRANSPORT.sub('tfsctl.connect("HOST:PORT") uses gRPC, tfsctl.connect("http://HOST:PORT") uses REST', hint)
    hint = hint.replace("--grpc", 'tfsctl.connect("HOST:PORT")') if not _COMMAND.search(hint) else hint
    hint = _COLUMN.sub(r'columns={"\1": "\2"}', hint)
    parts = re.split(r"(; |, or | or )", hint)
    return "".join(part if _COMMAND.search(part) else _OPTION.sub(_keyword, part) for part in parts)


def _request(match: re.Match[str]) -> str:
    return f"client.{match[1]}(…)" if match[2] is None else f'client.{match[1]}(…, signature="{match[2]}")'


def _keyword(match: re.Match[str]) -> str:
    return _argument(match[1], match[2]) if match[1] in _KEYWORDS else match[0]


def _argument(option: str, value: str | None) -> str:
    name = _KEYWORDS[option]
    if value is None:
        return name
    return f"{name}={value}" if name in _UNQUOTED else f'{name}="{value}"'
