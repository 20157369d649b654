"""`tfsctl verify`: compare the files of versions with the hashes in their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.errors import ExitCode

if TYPE_CHECKING:
    from tfsctl.rollout.file_verification import FileCheck


def verify(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A version, or the directory of a model.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Check that a version's files have not changed since the export.

    Compares the SHA-256 of each file with the manifest that `tfsctl export` wrote. Names each file that was changed,
    added or removed. The exit code is 1 unless every version has a manifest and unchanged files.

    \b
    Examples:
      tfsctl verify ./amazon_review
      tfsctl verify ./amazon_review/1790000000 --json
    """
    from tfsctl.cli.output import terminal
    from tfsctl.rollout import file_verification

    checks = file_verification.verify(path)
    is_ok = all(check.result == "ok" for check in checks)
    if as_json:
        terminal.answer_json({"ok": is_ok, "versions": [_document(check) for check in checks]})
    else:
        for check in checks:
            for line in _lines(check):
                terminal.answer(line)
    if not is_ok:
        raise typer.Exit(ExitCode.FAILED)


def _document(check: FileCheck) -> dict[str, Any]:
    found = check.differences
    return {
        "path": str(check.path),
        "result": check.result,
        "changed": [] if found is None else list(found.changed),
        "missing": [] if found is None else list(found.missing),
        "added": [] if found is None else list(found.added),
    }


def _lines(check: FileCheck) -> list[str]:
    found = check.differences
    if found is None:
        return [f"{check.path}: cannot be checked: it has no manifest with hashes"]
    if not found:
        return [f"{check.path}: ok"]
    return [
        f"{check.path}: {what} {file}"
        for what, files in (("changed", found.changed), ("missing", found.missing), ("added", found.added))
        for file in files
    ]
