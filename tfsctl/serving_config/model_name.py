"""The rule for the names that tfsctl gives to models and servers.

It is stricter than TensorFlow Serving's own: a name is safe in a URL, in the name of a container, as a file name and
as a shell word. Names in a model config file that a user wrote may be anything that TensorFlow Serving takes.
"""

from __future__ import annotations

import re

from tfsctl.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_name(name: str) -> str:
    """Return the name. Raises InvalidInput, with a similar name that is valid as the hint."""
    if _NAME.fullmatch(name):
        return name
    raise InvalidInput(
        f"{name!r} cannot be a model name: use letters, digits, '_', '-' and '.', and do not begin with '-' or '.'",
        hint=f"--name {valid_name(name)}",
    )


def valid_name(name: str) -> str:
    """The name itself if it is valid, otherwise a valid name that resembles it."""
    return name if _NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-") or "model"
