"""Writes the warmup requests of a version that is published already."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tfsctl.core import model_dir
from tfsctl.core.saved_model import SAVED_MODEL_FILE, read_saved_model
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature
from tfsctl.core.version_files.manifest import read_sample_rows
from tfsctl.errors import ExportError, InvalidInput, NotFound
from tfsctl.exporter import verification
from tfsctl.exporter.manifest import has_batch
from tfsctl.exporter.samples import Columns, Samples
from tfsctl.exporter.warmup import requests, warmup_file
from tfsctl.inputs.predict_inputs import shape_inputs


def warm_up_version(path: Path, source: str, *, report: Callable[[str], None]) -> tuple[Path, int]:
    """Write the requests of the file `source`, or suitable ones for "auto", to a version.

    "auto" takes the sample rows that the manifest records, and synthetic rows for signatures without samples.
    `path` is a version, or the directory of a model, whose latest version is taken. Returns the version's directory and
    the number of requests. Raises NotFound, InvalidInput, and ExportError if a server could not run a request.
    """
    directory = _version_directory(model_dir.without_scheme(path))
    signatures = read_saved_model(directory).signatures
    name = directory.resolve().parent.name
    if source == "auto":
        report("running the signatures")
        verified = verification.verify(directory, signatures, {}, _recorded_samples(directory, signatures))
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


def _recorded_samples(directory: Path, signatures: Mapping[str, Signature]) -> Samples:
    """The sample rows in the manifest of a version. Rows that do not fit their signature are skipped."""
    columns: dict[str, Columns] = {}
    for name, rows in read_sample_rows(directory).items():
        with suppress(InvalidInput, KeyError, TypeError):
            signature = signatures[name]
            inputs = {
                spec.name: [row[spec.name] for row in rows] if has_batch(spec) else rows[0][spec.name]
                for spec in signature.inputs
            }
            columns[name] = dict(shape_inputs([json.dumps({"inputs": inputs})], signature).items())
    return Samples(columns.pop(DEFAULT_SIGNATURE, {}), columns)


def _version_directory(path: Path) -> Path:
    """The version that a path names. Raises NotFound."""
    if (path / SAVED_MODEL_FILE).is_file():
        return path
    versions = model_dir.list_versions(path)
    if not versions:
        raise NotFound(f"{path} has no version", hint="tfsctl export writes one")
    return versions[-1].path
