"""The steps of an export: load the source, trace its signatures, write, verify and publish a new version.

>>> import tfsctl
>>> tfsctl.export_model("sample_models/half_plus_two.py", to="/models", version=3).path
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
from tfsctl.exporter.exported import ExportedModel, SignatureCheck
from tfsctl.exporter.sources.model_source import ModelSource, check_version, parse_source
from tfsctl.serving_config.model_name import check_name

ReportStep = Callable[[str], None]


def export_model(
    source: str | Path,
    *,
    name: str | None = None,
    to: str | Path = ".",
    version: int | None = None,
    report: ReportStep = lambda _step: None,
) -> ExportedModel:
    """Export `source` as a new version of the model `name` in the directory `to`.

    - `source`: a Python file (`model.py` or `model.py:attribute`), a .keras or .h5 file, or a SavedModel directory.
    - `name`: default: the stem of the file name. `version`: default: the Unix time.
    - `report`: called with the name of each step when it starts.

    The version is loaded and run before it is published. If anything fails, nothing is left behind.

    Raises NotFound and InvalidInput for wrong arguments, ExportError if the model cannot be built, written or run.
    """
    model_source = parse_source(str(source))
    base = Path(to) / check_name(model_source.default_name if name is None else name)
    check_version(version)
    if version is not None:
        model_dir.refuse_existing(base, version)
    if model_source.kind == "saved_model":
        read_saved_model(model_source.path)
        if model_source.path.resolve() in (base.resolve(), *base.resolve().parents):
            raise InvalidInput(
                f"the versions of the model would lie inside the model itself: {base}", hint="choose --name or --to"
            )
    sha256 = model_source.sha256()
    try:
        with model_dir.staging(base.absolute()) as staged:  # absolute: the user's file may change the working directory
            exported = _export(model_source, sha256, staged, version, report)
            return replace(exported, path=base / exported.path.name)
    except OSError as error:
        raise ExportError(f"cannot write in {base}: {error.strerror or error}") from error


def _export(
    source: ModelSource, sha256: str, staged: model_dir.Staging, version: int | None, report: ReportStep
) -> ExportedModel:
    from tfsctl.exporter import manifest

    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    write_version = _copy if source.kind == "saved_model" else _build
    checks, notes = write_version(source, staged.path, report)
    info = read_saved_model(staged.path)
    unpublished = ExportedModel(
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
                continue  # another export took the number in the meantime
            raise
        return replace(unpublished, version=number, path=published.path)


def _build(
    source: ModelSource, directory: Path, report: ReportStep
) -> tuple[tuple[SignatureCheck, ...], tuple[str, ...]]:
    from tfsctl.exporter import verification, writer
    from tfsctl.exporter.sources import loading

    report("loading TensorFlow")
    import tensorflow as tf  # noqa: F401 - the reported step

    report(f"building the model of {source.path.name}")
    with loading.load_source(source) as (model, samples, notes):
        signatures = loading.signatures_of(model, samples)
        report("tracing")
        functions = {signature.name: writer.trace(signature) for signature in signatures}
        report("writing")
        writer.write(model, functions, directory)
        report("checking")
        reference = {one.name: verification.tensor_function(one.call, one.inputs) for one in signatures}
        checks = verification.verify(directory, read_saved_model(directory).signatures, reference, samples)
    return checks, (*notes, *(note for signature in signatures for note in signature.notes))


def _copy(
    source: ModelSource, directory: Path, report: ReportStep
) -> tuple[tuple[SignatureCheck, ...], tuple[str, ...]]:
    from tfsctl.exporter import verification

    report("copying")
    shutil.copytree(source.path, directory, dirs_exist_ok=True)
    directory.chmod(0o755)
    report("checking")
    checks = verification.verify(directory, read_saved_model(directory).signatures, {}, None)
    known = read_row_independence(
        source.path
    )  # the files are the same, so the findings of an earlier export still hold
    return tuple(replace(check, row_independent=known.get(check.signature)) for check in checks), ()
