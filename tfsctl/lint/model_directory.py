"""Lints the base directory of a model: its versions, and names that TensorFlow Serving ignores."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from tfsctl.core.model_dir import STAGING_PREFIX, is_version_dir, list_versions, parse_version
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.lint.finding import Finding
from tfsctl.lint.saved_model import SAVED_MODEL_TEXT_FILE, lint_version


def is_saved_model(path: Path) -> bool:
    """Whether a directory holds a SavedModel itself."""
    return (path / SAVED_MODEL_FILE).is_file() or (path / SAVED_MODEL_TEXT_FILE).is_file()


def lint_directory(path: Path) -> list[Finding]:
    """The findings for a SavedModel, a version directory, or the base directory of versions."""
    if not is_saved_model(path) and (parse_version(path.resolve().name) is None or list_versions(path)):
        return list(lint_base_directory(path, servable=path.resolve().name))
    found = list(lint_version(path))
    if is_saved_model(path) and not is_version_dir(path) and parse_version(path.resolve().name) is None:
        found.append(_misnamed(path))
    return found


def lint_base_directory(base: Path, *, servable: str, with_versions: bool = True) -> Iterator[Finding]:
    """The findings for a base directory and, `with_versions`, for each version in it."""
    versions = list_versions(base)
    misnamed = [
        child
        for child in sorted(base.iterdir())
        if not child.name.startswith(STAGING_PREFIX) and parse_version(child.name) is None and is_saved_model(child)
    ]
    if not versions:
        yield Finding(
            "no-versions",
            "error",
            str(base),
            f"No versions of servable {servable} found under base path {base}. Did you forget to name your leaf "
            "directory as a number (eg. '/1/')?",
            _versions_fix(base, misnamed),
        )
    elif misnamed:
        for child in misnamed:
            yield _misnamed(child)
    seen: dict[int, Path] = {}
    for found in versions:
        if found.version in seen:
            yield Finding(
                "duplicate-version",
                "warning",
                str(found.path),
                f"Duplicate version directories detected. Version {found.version} will be loaded from "
                f"{found.path.name}, {seen[found.version].name} will be ignored.",
                f"remove or rename {seen[found.version]}",
            )
        seen[found.version] = found.path
    for found in versions if with_versions else ():
        yield from lint_version(found.path)


def _versions_fix(base: Path, misnamed: list[Path]) -> str:
    """The fix for a base directory without versions."""
    if is_saved_model(base) and parse_version(base.name) is not None:
        return f"this is a version: give its parent, {base.parent}"
    if is_saved_model(base):
        return f"tfsctl export {_quoted(base)} converts it to a servable version"
    if misnamed:
        return f"mv {_quoted(misnamed[0])} {_quoted(base / '1')}"
    return f"tfsctl export SOURCE --to {_quoted(base.parent)} --name {_quoted(base.name)}"


def _misnamed(path: Path) -> Finding:
    return Finding(
        "version-name",
        "warning",
        str(path),
        f"TensorFlow Serving ignores {path.resolve().name}: the name of a version directory is a number",
        f"tfsctl export {_quoted(path)} converts it to a servable version",
    )


def _quoted(path: Path | str) -> str:
    return shlex.quote(str(path))
