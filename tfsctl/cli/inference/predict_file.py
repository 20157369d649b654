"""`tfsctl predict --file`: predict every row of a file, with concurrent requests and in constant memory."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from tfsctl.cli.inference.bulk_output import BulkOutput, FileOutput, StandardOutput
from tfsctl.cli.inference.example_files import feature_rows, to_examples
from tfsctl.cli.inference.pinned_version import fetch_metadata
from tfsctl.cli.options.file_options import FileOptions
from tfsctl.cli.output import terminal
from tfsctl.cli.output.class_columns import class_columns
from tfsctl.cli.output.class_scores import NO_CLASS_OPTIONS, ClassOptions
from tfsctl.clients.bulk.bulk_predictor import AnsweredBatch, BulkOptions, BulkPredictor
from tfsctl.clients.bulk.pinned_version_predictor import PinnedVersionPredictor
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core import dtypes
from tfsctl.core.batches import NamedArrays, RowBatch, batch_reader, fixed_batch_size
from tfsctl.core.graphs.feature_specs import FeatureSpecs
from tfsctl.core.types import ModelMetadata, ModelRef, Signature
from tfsctl.data.blocks import STDIN, RowSource, stdin_is_ready
from tfsctl.data.csv_format import DEFAULT_FORMAT
from tfsctl.data.readers.image_rows import ImageRows
from tfsctl.data.shaping import KeptColumns, shape_rows
from tfsctl.data.sources import open_source
from tfsctl.data.writers.overwriting import refuse_overwriting, refuse_stdout_input
from tfsctl.errors import InvalidInput, TfsctlError
from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature

FeaturesOf = Callable[[ModelMetadata, Signature], FeatureSpecs | None]


def predict_file(
    client: ServingClient,
    model: ModelRef,
    signature: str | None,
    files: FileOptions,
    *,
    as_json: bool,
    output_names: Sequence[str],
    class_options: ClassOptions,
    features_of: FeaturesOf = lambda _served, _signature: None,
) -> None:
    """Predict every row of a file. Raises what reading, the client and writing raise; answers until then are kept.

    `features_of` returns the features of a signature that parses tf.Examples, which are then built from the columns.
    """
    served = fetch_metadata(client, model)
    chosen = choose_signature(served, signature)
    source = open_source(
        files.file or "",
        chosen,
        format=files.format,
        text_format=files.text_format or DEFAULT_FORMAT,
        note=terminal.say,
    )
    if files.output is None:
        refuse_stdout_input(files.file or "")
    elif isinstance(source, ImageRows):
        refuse_overwriting(files.output, source.files)
    skips_bad_rows = files.on_error == "skip"
    empty_columns = _columns_without_rows(chosen, output_names, class_options, numbered=skips_bad_rows)
    output: BulkOutput = (
        StandardOutput(as_json=as_json)
        if files.output is None
        else FileOutput(
            files.output,
            _run_identity(files, source, model, chosen, output_names, class_options),
            resume=files.resume,
            safe_csv=files.safe_csv,
        )
    )
    if files.resume and not output.through:
        terminal.say("no interrupted run found; starting at the first row")
    reserved = empty_columns.keys() | ({"file"} if isinstance(source, ImageRows) else set())
    batches = _batches(
        source, chosen, files, features_of(served, chosen), KeptColumns(files.keep, reserved), after=output.through
    )
    requester = PinnedVersionPredictor(
        client,
        model,
        served.version,
        chosen,
        choose_outputs(chosen, output_names) if output_names else (),
        note=terminal.say,
    )
    is_ready = stdin_is_ready if files.file == STDIN else lambda: True
    bulk = BulkPredictor(
        batch_reader(batches, is_ready=is_ready), requester.predict, _options(files, chosen), is_ready=is_ready
    )
    gc.set_threshold(100_000, 50, 50)  # many short-lived rows without reference cycles
    rows_before, start = output.rows, time.perf_counter()
    try:
        with _interruptible(bulk) as interrupted:
            labels = _write_answers(
                bulk, output, interrupted, class_options, numbered=skips_bad_rows, quiet=files.output is None
            )
            if not output.rows:
                columns = {name: array for name, array in empty_columns.items() if name == "row"}
                columns |= {name: array[:0] for name, array in labels.items()}
                output.write({**columns, **empty_columns}, (), output.through)
            output.finish()  # a first Ctrl-C has no effect from here on
    except BaseException as error:
        output.abandon()
        if isinstance(output, FileOutput) and output.through:
            _explain_resuming(output, error)
        raise
    seconds = time.perf_counter() - start
    if not output.rows and not output.rejects and files.file != STDIN:
        terminal.say_note(f"{source.name} has no rows")
    if isinstance(output, FileOutput):
        _report(output, bulk, output.rows - rows_before, seconds, as_json=as_json)


def _batches(
    source: RowSource,
    signature: Signature,
    files: FileOptions,
    features: FeatureSpecs | None,
    keep: KeptColumns,
    *,
    after: int,
) -> Iterator[RowBatch]:
    """The rows of a source after row `after`, in batches that fit the signature.

    With `features`, each row becomes a serialized tf.Example of them, unless the file holds tf.Examples already.
    """
    feature_signature = None
    if features is not None:
        source, feature_signature = feature_rows(source, signature, features, files.columns)
    batches = shape_rows(
        source,
        feature_signature or signature,
        renamed=files.columns,
        keep=keep,
        skip_bad_rows=files.on_error == "skip",
        after=after,
        note=terminal.say,
    )
    return batches if feature_signature is None else map(to_examples(signature), batches)


def _explain_resuming(output: FileOutput, error: BaseException) -> None:
    """Say how to continue after an error. Its hint may be --on-error skip, with which --resume cannot continue."""
    terminal.say(
        f"{output.rows:,} predictions are kept; add --resume to the same command to continue after row {output.through:,}"
    )
    if isinstance(error, TfsctlError) and (error.hint or "").startswith("--on-error skip"):
        # --resume continues only the same command, so the kept answers must go first
        error.hint = f"rm {output.path}.progress, then add --on-error skip to skip and list such rows"


def _options(files: FileOptions, signature: Signature) -> BulkOptions:
    fixed = fixed_batch_size(signature)
    if fixed is not None and files.batch_size not in (None, fixed):
        raise InvalidInput(
            f"{signature.name} takes exactly {fixed} rows per request", hint=f"--batch-size {fixed}, or none"
        )
    return BulkOptions(
        batch_size=files.batch_size or fixed,
        concurrency=files.concurrency,
        skip_bad_rows=files.on_error == "skip",
        divisible=fixed in (None, 1),
    )


def _run_identity(
    files: FileOptions,
    source: RowSource,
    model: ModelRef,
    signature: Signature,
    output_names: Sequence[str],
    class_options: ClassOptions,
) -> dict[str, Any]:
    """The properties of a run that must be the same for --resume to continue it."""
    path = files.file or ""
    status = os.stat(path) if os.path.isfile(path) else None
    images = source.files if isinstance(source, ImageRows) else ()
    text_format = files.text_format or DEFAULT_FORMAT
    return {
        "file": os.path.abspath(path),
        "images": zlib.crc32("\0".join(map(str, images)).encode("utf-8", "surrogateescape")),
        "size": status.st_size if status else None,
        "modified": status.st_mtime_ns if status else None,
        "format": files.format,
        "columns": dict(files.columns),
        "keep": list(files.keep),
        "delimiter": text_format.delimiter,
        "decimal": text_format.decimal,
        "encoding": text_format.encoding,
        "no-header": not text_format.has_header,
        "na": sorted(text_format.missing),
        "safe-csv": files.safe_csv,
        "model": str(model),
        "signature": signature.name,
        "outputs": list(output_names),
        "labels": zlib.crc32("\0".join(class_options.labels).encode("utf-8", "surrogateescape")),
        "top": class_options.top,
        "on-error": files.on_error,
    }


def _write_answers(
    bulk: BulkPredictor,
    output: BulkOutput,
    interrupted: threading.Event,
    class_options: ClassOptions,
    *,
    numbered: bool,
    quiet: bool,
) -> NamedArrays:
    """Write all answers; returns the labels of the last ones.

    Raises KeyboardInterrupt after Ctrl-C, once the requests in flight are answered.
    """
    labels: NamedArrays = {}
    with terminal.progress_bar(quiet=quiet) as show:
        try:
            for answered in bulk:
                labels = answered.batch.labels
                outputs = answered.outputs
                if class_options != NO_CLASS_OPTIONS and len(answered.batch):
                    outputs = class_columns(outputs, class_options)
                columns = _columns(answered, outputs, numbered=numbered)
                output.write(columns, answered.batch.rejects, answered.batch.last_row)
                if show is not None:
                    show(output.rows, answered.batch.fraction_read)
        except TfsctlError:
            if not interrupted.is_set():
                raise
    if interrupted.is_set():
        raise KeyboardInterrupt
    return labels


@contextmanager
def _interruptible(bulk: BulkPredictor) -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event and lets the requests in flight finish; the second one interrupts at once."""
    interrupted = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        bulk.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


def _columns(answered: AnsweredBatch, outputs: Mapping[str, np.ndarray], *, numbered: bool) -> Mapping[str, np.ndarray]:
    """The columns of the results: row numbers if rows may be missing, file names, outputs."""
    if not len(answered.batch):
        return {}
    rows = {"row": answered.batch.rows} if numbered else {}
    return rows | dict(answered.batch.labels) | dict(outputs)


def _columns_without_rows(
    signature: Signature, output_names: Sequence[str], class_options: ClassOptions, *, numbered: bool
) -> Mapping[str, np.ndarray]:
    """The columns of the results of an empty file, without rows, so that the output file has its header."""
    one_row = {
        spec.name: np.zeros((1, *(size or 0 for size in (spec.shape or ())[1:])), dtypes.BY_NAME[spec.dtype].numpy)
        for spec in signature.outputs
        if spec.dtype in dtypes.BY_NAME and (not output_names or spec.name in output_names)
    }
    rows = {"row": np.empty(0, np.int64)} if numbered else {}
    return rows | {name: array[:0] for name, array in class_columns(one_row, class_options).items()}


def _report(output: FileOutput, bulk: BulkPredictor, rows: int, seconds: float, *, as_json: bool) -> None:
    """Print a summary: a JSON document with --json, a line otherwise."""
    rate = rows / max(seconds, 1e-9)
    setting = bulk.settings
    if as_json:
        terminal.answer_json(
            {
                "output": str(output.path),
                "rows": output.rows,
                "rejected": output.rejects,
                "rejects": str(output.rejects_path) if output.rejects else None,
                "seconds": round(seconds, 3),
                "rows_per_s": round(rate, 1),
                "batch_size": setting.rows,
                "concurrency": setting.concurrency,
            }
        )
        return
    sizes = f"{setting.rows:,} per request, {setting.concurrency} concurrent"
    done = f"{output.rows:,} row{'' if output.rows == 1 else 's'}" + (f", {rows:,} of them" if output.resumed else "")
    terminal.say(f"{output.path}: {done} in {seconds:.1f} s ({rate:,.0f} rows/s; {sizes})")
    if output.rejects:
        terminal.say(f"rows without a prediction: {output.rejects:,}; {output.rejects_path} lists the reasons")
