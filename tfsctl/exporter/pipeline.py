"""The steps of an export: load the source, trace its signatures, write, verify and publish a new version.

>>> import tfsctl
>>> tfsctl.export_model("sample_models/half_plus_two.py", to="/models", version=3).path
PosixPath('/models/half_plus_two/3')
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core import model_dir
from tfsctl.core.history import journal
from tfsctl.core.history.event import Event
from tfsctl.core.saved_model import SavedModelInfo, read_saved_model
from tfsctl.core.version_files.file_hashes import compare_files, hash_files
from tfsctl.core.version_files.manifest import read_row_independence
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.errors import ExportError, InvalidInput, NotFound, VersionTakenError
from tfsctl.exporter.exported import ExportedModel, Verification
from tfsctl.exporter.publish.remote import RemoteModel, is_remote
from tfsctl.exporter.sources.export_options import ExportOptions
from tfsctl.exporter.sources.model_source import SAVED_MODEL_TEXT_FILE, ModelSource, check_version, parse_source
from tfsctl.serving_config.model_name import check_name
from tfsctl.serving_config.stock_image import DEFAULT_IMAGE, DEFAULT_TAG, list_operations, newer_operations

if TYPE_CHECKING:
    from tfsctl.exporter.evidence.provenance import GitState

ReportStep = Callable[[str], None]
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class _ExportRequest:
    """The arguments of `export_model` that its steps need.

    - `version`: the number of the version; None: a new one.
    - `remote`: where the version is uploaded to; None if it stays in a local directory.
    """

    source: ModelSource
    version: int | None
    allow_breaking: bool
    warmup: str | Path | None
    report: ReportStep
    remote: RemoteModel | None = None


def export_model(
    source: str | Path,
    *,
    name: str | None = None,
    to: str | Path = ".",
    version: int | None = None,
    allow_breaking: bool = False,
    warmup: str | Path | None = None,
    options: ExportOptions = ExportOptions(),  # noqa: B008 - immutable
    report: ReportStep = lambda _step: None,
) -> ExportedModel:
    """Export `source` as a new version of the model `name` in `to`: a directory, or a URL such as s3://bucket/models.

    - `source`: a Python file (`model.py` or `model.py:attribute`), a .keras or .h5 file, or a SavedModel directory.
    - `name` (default: the stem of the file name). `version` (default: the Unix time).
    - `allow_breaking`: publish the version even if clients of the version now latest would break.
    - `warmup`: a file of requests that servers run after loading the version, or "auto": some that fit its signatures.
    - `options`: how to load the source, and changes of its signatures.
    - `report`: called with the name of each step when it starts.

    The version is loaded and run before it is published. If anything fails, nothing is left behind.

    Raises NotFound and InvalidInput for wrong arguments, ExportError if the model cannot be built, written or run.
    """
    parsed = parse_source(str(source), options)
    options.refuse_for(parsed.kind)
    model_source = replace(parsed, options=options)
    name = check_name(model_source.default_name if name is None else name)
    check_version(version)
    request = _ExportRequest(model_source, version, allow_breaking, warmup, report)
    if is_remote(str(to)):
        remote = RemoteModel(str(to), name)
        existing = remote.versions()  # fail before the model is built if the store cannot be written
        if version is not None and version in existing:
            raise remote.version_taken(version)
        with tempfile.TemporaryDirectory(prefix="tfsctl-") as folder:
            return _export_to(Path(folder) / name, replace(request, remote=remote))
    base = Path(str(to).removeprefix("file://")) / name
    if version is not None:
        model_dir.refuse_existing(base, version)
    return _export_to(base, request)


def _export_to(base: Path, request: _ExportRequest) -> ExportedModel:
    """Export a version to the model directory `base`, which is a temporary one if the version is uploaded."""
    from tfsctl.exporter.sources.saved_model_files import check_saved_model

    source, warmup = request.source, request.warmup
    if warmup not in (None, AUTO):
        warmup = Path(warmup).absolute()  # the user's file may change the working directory
        if not warmup.is_file():
            raise NotFound(f"there is no file {warmup}", hint='--warmup takes a file, or "auto"')
    if source.kind == "saved_model":
        if not (source.path / SAVED_MODEL_TEXT_FILE).is_file():
            check_saved_model(source.path)
        if source.path.resolve() in (base.resolve(), *base.resolve().parents):
            raise InvalidInput(
                f"the versions of the model would lie inside the model itself: {base}",
                hint="choose another model name with --name, or another directory with --to",
            )
    sha256 = source.sha256()
    try:
        with model_dir.staging(base.absolute()) as staged:  # absolute: the user's file may change the working directory
            exported = _export(replace(request, warmup=warmup), sha256, staged)
            return replace(exported, path=base / exported.path.name)
    except OSError as error:
        raise ExportError(f"cannot write in {base}: {error.strerror or error}") from error


def _export(request: _ExportRequest, sha256: str, staged: model_dir.Staging) -> ExportedModel:
    """Write a version to the staging folder, verify it, and publish it. `sha256` is the hash of the source."""
    from tfsctl.exporter.evidence.provenance import git_state
    from tfsctl.exporter.publish import compatibility_gate
    from tfsctl.exporter.signatures.rest_types import notes_on_types

    source = request.source
    created = _created()
    git = git_state(source.path)  # before the user's code runs, which may write files
    copied = source.kind == "saved_model" and not source.options.changes_signatures
    write_version = _copy_or_rewrite if copied else _build
    verification, notes = write_version(source, staged.path, request.report)
    info = read_saved_model(staged.path)
    if request.remote is None:
        comparison = compatibility_gate.compare_with_latest(staged.base, info.signatures)
    else:
        comparison = request.remote.compare_with_latest(info.signatures)
    compatibility_gate.refuse_breaking(staged.base.name, comparison, allow_breaking=request.allow_breaking)
    unpublished = ExportedModel(
        name=staged.base.name,
        version=0,
        path=staged.path,
        signatures=info.signatures,
        checks=verification.checks,
        tensorflow_version=info.tensorflow_version,
        keras_version=None if source.kind == "saved_model" else package_version("keras"),
        source_sha256=sha256,
        created=created,
        notes=(
            *notes,
            *notes_on_types(info.signatures.values()),
            *compatibility_gate.describe(comparison),
            *_missing_in_image(info),
        ),
        memory=verification.memory,
        compared_with=comparison,
    )
    warmup_count = _warm_up(unpublished, request.warmup, request.report)
    request.report("publishing")
    return _publish(replace(unpublished, warmup_requests=warmup_count), request, staged, git)


def _publish(
    unpublished: ExportedModel, request: _ExportRequest, staged: model_dir.Staging, git: GitState | None
) -> ExportedModel:
    """Give the version its number, write its manifest, and move or upload it to its place.

    A new number is chosen again if another export took it in the meantime. Raises VersionTakenError if the requested
    number was taken.
    """
    from tfsctl.exporter import manifest

    remote, file_name = request.remote, request.source.path.name
    hashes = hash_files(staged.path)
    while True:
        number = (staged if remote is None else remote).new_version() if request.version is None else request.version
        manifest.write(replace(unpublished, version=number), file_name=file_name, git=git, hashes=hashes)
        try:
            if remote is not None:
                return replace(unpublished, version=number, url=remote.upload(staged.path, number))
            published = staged.publish(number)
        except VersionTakenError:
            if request.version is not None:
                raise
            continue
        event = Event("export", staged.base.name, versions=(number,), message=f"from {file_name}")
        note = journal.append(staged.base, event)
        notes = (*unpublished.notes, note) if note else unpublished.notes
        return replace(unpublished, version=number, path=published.path, notes=notes)


def _warm_up(unpublished: ExportedModel, warmup: str | Path | None, report: ReportStep) -> int:
    """Write and replay the warmup requests of a version; returns their number.

    A copied SavedModel may have some already: they are replayed too.
    """
    directory = unpublished.path
    if warmup is None and not (directory / WARMUP_FILE).exists():
        return 0
    from tfsctl.exporter.warmup import requests, warmup_file

    report("running warmup requests")
    if warmup == AUTO:
        found = requests.requests_of_checks(unpublished.name, unpublished.checks)
    else:
        path = directory / WARMUP_FILE if warmup is None else Path(warmup)
        found = requests.requests_of_file(path, unpublished.name, unpublished.signatures)
    if found:
        warmup_file.replay(directory, found)
        if warmup is not None:
            warmup_file.write(directory, found)
    return len(found)


def _created() -> str:
    """The time of the export; of SOURCE_DATE_EPOCH if that is set (https://reproducible-builds.org)."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH", "")
    is_time = seconds.isascii() and seconds.isdigit() and len(seconds) <= 11
    now = datetime.fromtimestamp(int(seconds), timezone.utc) if is_time else datetime.now(timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _missing_in_image(info: SavedModelInfo) -> list[str]:
    """A note on the operations that the default image of TensorFlow Serving does not have yet."""
    newer, since = newer_operations(info.ops, DEFAULT_TAG)
    if not newer:
        return []
    return [f"it uses {list_operations(newer)} of TensorFlow {since}, which {DEFAULT_IMAGE} does not have"]


def _build(source: ModelSource, directory: Path, report: ReportStep) -> tuple[Verification, tuple[str, ...]]:
    """Load a source with TensorFlow, and write and verify a SavedModel. Returns the verification, and notes."""
    from tfsctl.exporter import verification, writer
    from tfsctl.exporter.signatures.changes import change_signatures
    from tfsctl.exporter.sources import loading
    from tfsctl.exporter.sources.saved_model_files import with_method_names
    from tfsctl.exporter.sources.servables.building import notes_on_lookup_times

    report("loading TensorFlow")
    import tensorflow as tf  # noqa: F401 - the reported step

    report(f"building the model of {source.path.name}")
    with loading.load_source(source) as (model, source_samples, notes):
        original = loading.signatures_of(model, source_samples)
        if source.kind == "saved_model":
            original = with_method_names(original, source.path)
        signatures, samples = change_signatures(original, source_samples, source.options)
        report("tracing")
        functions = {signature.name: writer.trace(signature) for signature in signatures}
        report("writing")
        method_names = {signature.name: signature.method_name for signature in signatures}
        writer.write(model, functions, directory, method_names=method_names)
        report("checking")
        reference = {one.name: verification.tensor_function(one.call, one.inputs) for one in signatures}
        verified = verification.verify(
            directory,
            read_saved_model(directory).signatures,
            reference,
            samples,
            timeout_s=source.options.check_timeout_s,
        )
    notes = (*notes, *(note for signature in signatures for note in signature.notes))
    if source.kind in ("embeddings", "vocabulary"):
        notes = (*notes, *notes_on_lookup_times(verified))
    return verified, notes


def _copy_or_rewrite(source: ModelSource, directory: Path, report: ReportStep) -> tuple[Verification, tuple[str, ...]]:
    """Copy a SavedModel. If a server cannot find all of its variables, load it in Python and write it again.

    `tf.saved_model.save` of a Keras 3 model writes such SavedModels: only TensorFlow's Python library restores them.
    """
    try:
        return _copy(source, directory, report)
    except ExportError as error:
        if "Could not find variable" not in error.message:
            raise
    for path in directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    verified, notes = _build(source, directory, report)
    return verified, (*notes, f"{source.path} does not restore all variables in a server, so it was written again")


def _copy(source: ModelSource, directory: Path, report: ReportStep) -> tuple[Verification, tuple[str, ...]]:
    """Copy a SavedModel as it is, and verify the copy. Returns the verification, and no notes."""
    from tfsctl.exporter import verification
    from tfsctl.exporter.sources.saved_model_files import copy_saved_model

    report("copying")
    copy_saved_model(source.path, directory)
    report("checking")
    verified = verification.verify(
        directory, read_saved_model(directory).signatures, {}, None, timeout_s=source.options.check_timeout_s
    )
    # The manifest of an earlier export may record findings on samples, which show more than synthetic rows do.
    # They hold if the files are still those that this export wrote.
    recorded = {} if compare_files(source.path) else read_row_independence(source.path)
    checks = [
        replace(check, row_independent=recorded.get(check.signature, check.row_independent))
        for check in verified.checks
    ]
    return replace(verified, checks=tuple(checks)), ()
