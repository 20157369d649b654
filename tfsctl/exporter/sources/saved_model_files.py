"""Copies SavedModels. TensorFlow Serving loads `saved_model.pbtxt` too, and few other tools do: a copy is binary."""

from __future__ import annotations

import shutil
from pathlib import Path

from tfsctl.core import protos
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.errors import ExportError
from tfsctl.exporter.sources.model_source import SAVED_MODEL_TEXT_FILE


def copy_saved_model(source: Path, directory: Path) -> None:
    """Copy a SavedModel into an existing, empty directory. Raises ExportError if its text file is not valid."""
    shutil.copytree(source, directory, dirs_exist_ok=True)
    directory.chmod(0o755)
    text_file = directory / SAVED_MODEL_TEXT_FILE
    if not text_file.is_file():
        return
    if not (directory / SAVED_MODEL_FILE).is_file():
        parsed = _parse(text_file.read_bytes(), source / SAVED_MODEL_TEXT_FILE)
        (directory / SAVED_MODEL_FILE).write_bytes(parsed.SerializeToString(deterministic=True))
    text_file.unlink()


def _parse(text: bytes, file: Path) -> protos.SavedModel:
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, protos.SavedModel(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ExportError(f"{file} is not a SavedModel: {error}") from error
