"""Writes the warmup requests of a version that is published already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfsctl.core import model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.errors import ExportError, NotFound
from tfsctl.exporter import verification
from tfsctl.exporter.warmup import requests, warmup_file


def warm_up_version(path: Path, source: str, *, report: Callable[[str], None]) -> tuple[Path, int]:
    """Write the requests of the file `source`, or suitable ones for "auto", to a version.

    `path` is a version, or the directory of a model, whose latest version is taken. Returns the version's directory and
    the number of requests. Raises NotFound, InvalidInput, and ExportError if a server could not run a request.
    """
    directory = _version_directory(path)
    signatures = read_saved_model(directory).signatures
    name = directory.resolve().parent.name
    if source == "auto":
        report("running the signatures")
        verified = verification.verify(directory, signatures, {}, None)
        found = requests.requests_of_checks(name, verified.checks)
        if not found:
            raise ExportError(
                f"no signature of {directory} can be run on synthetic rows",
                hint=f"tfsctl warmup {path} FILE takes the requests from a file",
            )
    else:
        found = requests.requests_of_file(Path(source), name, signatures)
    report("running the requests")
    warmup_file.replay(directory, found)
    try:
        warmup_file.write_published(directory, found)
    except OSError as error:
        raise ExportError(f"cannot write in {directory}: {error.strerror}") from error
    return directory, len(found)


def _version_directory(path: Path) -> Path:
    """The version that a path names. Raises NotFound."""
    if (path / SAVED_MODEL_FILE).is_file():
        return path
    versions = model_dir.list_versions(path)
    if not versions:
        raise NotFound(f"{path} has no version", hint="tfsctl export writes one")
    return versions[-1].path
