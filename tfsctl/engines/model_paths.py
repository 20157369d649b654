"""The path that a user gives for a model: checks it, and tells what it is instead of a directory with versions."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from tfsctl.core.model_dir import MAX_VERSION, list_versions, without_scheme
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.serving_config.model_name import valid_name

SOURCE_SUFFIXES = (".py", ".keras", ".h5")


def local_path(path: Path | str) -> Path:
    """The absolute path of a directory of this machine, which may be given as a `file:` URL.

    Raises InvalidInput for a URL of an object store, such as s3://BUCKET/MODEL.
    """
    return Path(os.path.abspath(without_scheme(path)))


def require_versions(base: Path, *, command: str = "serve") -> None:
    """Raise NotFound or InvalidInput unless `base` holds a version directory.

    The hint exports what is there, or runs `command` on a model below.
    """
    if list_versions(base):
        return
    if (base / SAVED_MODEL_FILE).is_file():
        raise InvalidInput(
            f"{base} holds a SavedModel itself, and {base.name!r} is {_version_name_problem(base.name)}",
            hint=f"tfsctl export {_quoted(base)} converts it to a servable version",
        )
    misnamed = next((child for child in sorted(base.iterdir()) if (child / SAVED_MODEL_FILE).is_file()), None)
    if misnamed is not None:
        to = f"--to {_quoted(base.parent)} --name {_quoted(valid_name(base.name))}"
        raise NotFound(
            f"{misnamed} is a SavedModel, and {misnamed.name} is {_version_name_problem(misnamed.name)}",
            hint=f"tfsctl export {_quoted(misnamed)} {to}",
        )
    below = next((child for child in sorted(base.iterdir()) if child.is_dir() and list_versions(child)), None)
    source = next((child for child in sorted(base.iterdir()) if child.is_file() and _is_source(child)), None)
    if below is not None:
        hint = f"tfsctl {command} {_quoted(below)}"
    elif source is not None:
        hint = f"tfsctl export {_quoted(source)}"
    else:
        hint = f"tfsctl export SOURCE --to {_quoted(base.parent)} --name {_quoted(valid_name(base.name))}"
    raise NotFound(f"no version of a model in {base}: it has no numbered directory", hint=hint)


def is_file_error(path: Path, *, command: str = "serve") -> InvalidInput:
    """The error for a file in place of the directory of a model. The hint runs `command` on a file inside a version."""
    if path.name == SAVED_MODEL_FILE:
        hint = f"tfsctl {command} {_quoted(path.parent)}"
    elif _is_source(path):
        hint = f"tfsctl export {_quoted(path)}"
    else:
        hint = f"use the directory of a model; tfsctl export takes files that end in {', '.join(SOURCE_SUFFIXES)}"
    return InvalidInput(f"{path} is a file, and a model is a directory of versions", hint=hint)


def _is_source(path: Path) -> bool:
    """Whether `tfsctl export` may take a file, judged by its name."""
    return path.suffix in SOURCE_SUFFIXES and not path.name.endswith(".weights.h5") and path.name != "__init__.py"


def _version_name_problem(name: str) -> str:
    """Why the name of a directory is not a version number."""
    too_large = name.isascii() and name.isdigit()
    return f"larger than {MAX_VERSION}, the highest version number" if too_large else "not a version number"


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
