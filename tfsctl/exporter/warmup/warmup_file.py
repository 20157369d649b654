"""Replays warmup requests with the server's own code, and writes them to a version."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.tfrecord import write_records
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text, manifest
from tfsctl.exporter.session_process import SessionProcess


def replay(directory: Path, requests: Sequence[protos.PredictionLog]) -> None:
    """Load the SavedModel in a directory in a fresh process, and run each request there.

    A server does not load a version if one of its warmup requests fails. Raises ExportError for the first that does.
    """
    try:
        process = SessionProcess(directory)
    except error_text.TensorFlowError as error:
        raise ExportError(f"the version cannot be loaded: {error_text.one_line(error)}") from error
    with process:
        for number, request in enumerate(requests, 1):
            try:
                process.warm_up(request)
            except error_text.TensorFlowError as error:
                raise ExportError(
                    f"warmup request {number} of {len(requests)} fails, so a server would not load the version: "
                    f"{error_text.one_line(error)}",
                    hint="correct or remove the request",
                ) from error


def write(directory: Path, requests: Sequence[protos.PredictionLog]) -> None:
    """Write the warmup file of a version. A server that loads it at the same time finds the old file or the new one."""
    _replace(directory / WARMUP_FILE, [request.SerializeToString() for request in requests])


def write_published(directory: Path, requests: Sequence[protos.PredictionLog]) -> None:
    """Write the warmup file of a published version, and its hash to the manifest. Raises OSError."""
    write(directory, requests)
    content = manifest.updated_manifest(directory, warmup_requests=len(requests))
    if content is not None:
        _replace(directory / MANIFEST_FILE, content)


def _replace(file: Path, content: bytes | Sequence[bytes]) -> None:
    """Write a file, or a TFRecord file of some records, under another name, flush it, and rename it."""
    file.parent.mkdir(exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".tfsctl-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as output:
            if isinstance(content, bytes):
                output.write(content)
            else:
                write_records(output, content)
            os.fchmod(output.fileno(), 0o644)
            output.flush()
            os.fsync(output.fileno())
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
