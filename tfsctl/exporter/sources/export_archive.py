"""Models given as `keras.export.ExportArchive`: its endpoints are the signatures."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator

from tfsctl.errors import ExportError
from tfsctl.exporter import error_text
from tfsctl.exporter.sources import tf_module


def is_export_archive(value: object) -> bool:
    """Whether a value is an ExportArchive. Its instances are of a private class, such as TFExportArchive."""
    return type(value).__name__.endswith("ExportArchive") and hasattr(value, "write_out")


@contextlib.contextmanager
def unpacked(model: object) -> Iterator[object]:
    """The model of an archive, loaded again from the SavedModel that the archive writes; any other model as it is."""
    if not is_export_archive(model):
        yield model
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.write_out(folder, verbose=False)  # type: ignore[attr-defined]
        except Exception as error:
            raise ExportError(f"the ExportArchive cannot be written: {error_text.one_line(error)}") from error
        yield tf_module.load_saved_model(folder)
