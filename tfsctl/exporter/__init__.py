"""A model in any form becomes a verified, numbered SavedModel version.

>>> from tfsctl.exporter import export
>>> export("sample_models/half_plus_two.py", to="/models", version=3).path
PosixPath('/models/half_plus_two/3')
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path

from tfsctl.core import model_dir
from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.version_files import read_row_independence
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter.exported import Check, Exported
from tfsctl.exporter.sources.source import Source, check_version, parse_source
from tfsctl.serving_config.model_name import check_name

__all__ = ["Check", "Exported", "export"]

Report = Callable[[str], None]


def export(
    source: str | Path,
    *,
    name: str | None = None,
    to: str | Path = ".",
    version: int | None = None,
    report: Report = lambda _step: None,
) -> Exported:
    """Export `source` as a new version of the model `name` in the directory `to`.

    `source` is a Python file (`model.py`, or `model.py:attribute`), a .keras or .h5 file, or a SavedModel directory.
    `name` defaults to the file's stem, `version` to the Unix time. `report` is told each step as it begins. The version
    is loaded and run before it is published; when anything fails, nothing is left behind.

    Raises NotFound and InvalidInput for what was asked, ExportError for a model that cannot be built, written or run.
    """
    found = parse_source(str(source))
    base = Path(to) / check_name(found.default_name if name is None else name)
    check_version(version)
    if version is not None:
        model_dir.refuse_existing(base, version)
    if found.kind == "saved_model":
        read_saved_model(found.path)
        if found.path.resolve() in (base.resolve(), *base.resolve().parents):
            raise InvalidInput(
                f"the versions of the model would lie inside the model itself: {base}", hint="choose --name or --to"
            )
    sha256 = found.sha256()
    try:
        with model_dir.staging(base.absolute()) as staged:  # absolute: the user's file may change directory
            exported = _export(found, sha256, staged, version, report)
            return replace(exported, path=base / exported.path.name)
    except OSError as error:
        raise ExportError(f"cannot write in {base}: {error.strerror or error}") from error


def _export(source: Source, sha256: str, staged: model_dir.Staging, version: int | None, report: Report) -> Exported:
    from tfsctl.exporter import manifest

    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    report("loading TensorFlow")
    import tensorflow as tf  # noqa: F401 - loaded here, while the user is told so

    make = _copied if source.kind == "saved_model" else _built
    checks, notes = make(source, staged.path, report)
    info = read_saved_model(staged.path)
    unpublished = Exported(
        name=staged.base.name,
        version=0,
        path=staged.path,
        signatures=info.signatures,
        checks=checks,
        tensorflow_version=info.tensorflow_version,
        keras_version=None if source.kind == "saved_model" else package_version("keras"),
        source_sha256=sha256,
        created=created,
        notes=notes,
    )
    report("publishing")
    while True:
        number = model_dir.new_version(staged.base) if version is None else version
        manifest.write(replace(unpublished, version=number), file_name=source.path.name)
        try:
            published = staged.publish(number)
        except ExportError:
            if version is None and (staged.base / str(number)).exists():
                continue  # another export took the number meanwhile
            raise
        return replace(unpublished, version=number, path=published.path)


def _built(source: Source, directory: Path, report: Report) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    from tfsctl.exporter import verify, writer
    from tfsctl.exporter.sources import loading

    report(f"building the model of {source.path.name}")
    with loading.loaded(source) as (model, rows, notes):
        endpoints = loading.endpoints_of(model, rows)
        report("tracing")
        functions = {endpoint.name: writer.trace(endpoint) for endpoint in endpoints}
        report("writing")
        writer.write(model, functions, directory)
        report("checking")
        own = {endpoint.name: verify.runner(endpoint.call, endpoint.inputs) for endpoint in endpoints}
        checks = verify.verify(directory, read_saved_model(directory).signatures, own, rows)
    return checks, (*notes, *(note for endpoint in endpoints for note in endpoint.notes))


def _copied(source: Source, directory: Path, report: Report) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    from tfsctl.exporter import verify

    report("copying")
    shutil.copytree(source.path, directory, dirs_exist_ok=True)
    directory.chmod(0o755)
    report("checking")
    checks = verify.verify(directory, read_saved_model(directory).signatures, {}, None)
    known = read_row_independence(source.path)  # the same files, so what an earlier export found is still so
    return tuple(replace(check, row_independent=known.get(check.signature)) for check in checks), ()
