"""Hints of errors in the REPL's words: its commands instead of the options of `tfsctl`."""

from __future__ import annotations

import re

_MODEL = r"(?:--model (?:'[^']*'|\S+) )?"  # the one that the REPL queries
_COMMANDS = (
    (r"tfsctl metadata(?! \S*[/A-Z])", ":metadata"),
    (r"tfsctl status(?! \S*[/A-Z])", ":model"),
    (rf"tfsctl (classify|regress) {_MODEL}(?:--signature (\S+) )?", r":verb \1, then "),
    (rf"tfsctl predict {_MODEL}--example ", ""),
    (rf"tfsctl predict {_MODEL}(?:--signature (\S+) )?(?!--)", ":verb predict, then "),
    ("without --version the latest is used", ":version latest chooses the latest"),
    ("without --label the latest version is used", ":version latest chooses the latest"),
    ("remove --top and --labels", "reset both with :set top and :set labels"),
    ("remove --labels", ":set labels"),
    (r"--(model|signature|version|label)\b", r":\1"),
    (r"--(timeout|only|top|labels)\b", r":set \1"),
    (r"(?:add )?--(grpc|rest)\b", r":\1"),
    (r"--text\b", ":text TEXT"),
)
# Text in the quotes of a shell, which would be sent with them. `"8001"` stays: in features it is text, not a number.
_SHELL_QUOTED = re.compile(r"""(?<=[ =])(?:"(?![\d.]+")([^"\\]*)"|'([^']*)')(?= |$)""")
_OPTION = re.compile(r"(?:^|[\s(])--[a-z]")


def repl_hint(hint: str) -> str:
    """A hint with commands of the REPL. One that needs other options of `tfsctl` says where they are given.

    >>> repl_hint("did you mean --signature text?")
    'did you mean :signature text?'
    >>> repl_hint("--column x=COLUMN names the one to take")
    'outside the REPL: --column x=COLUMN names the one to take'
    """
    if hint.startswith("for example: "):
        hint = _SHELL_QUOTED.sub(lambda match: match[1] or match[2] or "", hint)
    for pattern, command in _COMMANDS:
        hint = re.sub(pattern, command, hint)
    return f"outside the REPL: {hint}" if _OPTION.search(hint) else hint
