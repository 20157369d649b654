"""Arguments for a Python file (`--arg`): for the function that builds the model, or for the file's command line.

`NAME=VALUE` is an argument of the function if the file defines that function with a parameter NAME. Otherwise, it is
`--NAME=VALUE` in `sys.argv`. Any other text is in `sys.argv` unchanged.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

_NAMED = re.compile(r"(?P<name>[A-Za-z_][\w.-]*)=(?P<value>.*)", re.DOTALL)
_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def split_arguments(texts: Sequence[str], code: str, function: str) -> tuple[dict[str, object], list[str]]:
    """The keyword arguments for a function of a file, and the arguments of the file's command line."""
    parameters = _parameters(code, function)
    keywords: dict[str, object] = {}
    command_line = []
    for text in texts:
        named = _NAMED.fullmatch(text)
        if named and named["name"] in parameters:
            keywords[named["name"]] = _value(named["value"], parameters[named["name"]])
        else:
            command_line.append(f"--{text}" if named else text)
    return keywords, command_line


def _parameters(code: str, function: str) -> dict[str, str]:
    """The parameters of a function at the top level of a file, and the source of their annotations."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):  # running the file reports it
        return {}
    for node in tree.body:
        if isinstance(node, _Function) and node.name == function:
            arguments = (*node.args.args, *node.args.kwonlyargs)
            return {one.arg: ast.unparse(one.annotation) if one.annotation else "" for one in arguments}
    return {}


def _value(text: str, annotation: str) -> object:
    """A value as a Python literal (`3`, `0.5`, `[1, 2]`), otherwise as text. A parameter of type `str` is text."""
    if annotation in ("str", "'str'"):
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return float(value) if annotation == "float" and isinstance(value, int) else value
