"""`export`: what `tfsctl export` does, from Python. It runs TensorFlow in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tfsctl.api.hints import python_errors

if TYPE_CHECKING:
    from tfsctl.exporter.exported import ExportedModel
    from tfsctl.exporter.sources.export_options import ExportOptions


def export(
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    to: str | os.PathLike[str] = ".",
    version: int | None = None,
    options: ExportOptions | None = None,
) -> ExportedModel:
    """Export a model as a new version of the model `name` in the directory `to`, and check that servers can run it.

    - `source`: a Python file (`model.py` or `model.py:attribute`), a .keras or .h5 file, or a SavedModel directory.
    - `name`: default: the stem of the file name. `version`: default: the Unix time.
    - `options`: how to load the source, and other signatures.

    Returns the published version; its `base_path` is what `tfsctl.serve` takes. This loads TensorFlow. A Keras model
    object is exported by saving it first: `model.save("model.keras")`.

    Raises NotFound and InvalidInput for wrong arguments, ExportError if the model cannot be built, written or run.
    """
    from tfsctl.exporter.pipeline import export_model
    from tfsctl.exporter.sources.export_options import ExportOptions

    if not isinstance(source, (str, os.PathLike)):
        from tfsctl.errors import InvalidInput

        raise InvalidInput(
            f"the source is of type {type(source).__name__}, not the path of a model",
            hint='model.save("model.keras"), and export that',
        )
    with python_errors():
        return export_model(
            os.fspath(source), name=name, to=os.fspath(to), version=version, options=options or ExportOptions()
        )
