"""The rule for the names that tfsctl gives to models and servers.

It is stricter than TensorFlow Serving's own: a name is safe in a URL, in the name of a container, as a file name and
as a shell word. Names in a model config file that a user wrote may be anything that TensorFlow Serving takes.
"""

from __future__ import annotations

import re

from tfsctl.errors import InvalidInput

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_MAX_LENGTH = 200  # file systems allow 255 bytes, and the names of files have something before or after it


def check_name(name: str) -> str:
    """Return the name. Raises InvalidInput, with a similar name that is valid as the hint."""
    if len(name) > _MAX_LENGTH:
        raise InvalidInput(
            f"the name {name[:20]}… has {len(name)} characters, and at most {_MAX_LENGTH} are allowed",
            hint="use a shorter --name",
        )
    if _NAME.fullmatch(name):
        return name
    raise InvalidInput(
        f"{name!r} cannot be a model name: use letters, digits, '_', '-' and '.', and do not begin with '-' or '.'",
        hint=f"--name {valid_name(name)}",
    )


def valid_name(name: str) -> str:
    """The name itself if it is valid, otherwise a valid name that resembles it."""
    valid = name if _NAME.fullmatch(name) else re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.-")
    return valid[:_MAX_LENGTH] or "model"
