"""Verifies a written version before it is published: a server must be able to load it, run it, and answer correctly.

The version is loaded in a fresh process by the embedded server's own code. Each signature runs on samples of the source
or on synthetic rows, and its outputs are compared with those of the source model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from tfsctl.core.arrays import object_array
from tfsctl.core.graphs.feature_specs import FeatureSpec, features_of
from tfsctl.core.graphs.signature_graph import SignatureGraph, signature_graph
from tfsctl.core.saved_model import read_meta_graph
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text, samples
from tfsctl.exporter.evidence.row_operations import mixing_operations
from tfsctl.exporter.exported import CHECK_TIMEOUT_S, SignatureCheck, Verification
from tfsctl.exporter.output_comparison import (
    EXPORT_TOLERANCE,
    Arrays,
    RowIndependence,
    Run,
    agree,
    largest_difference,
    rows_are_independent,
)
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.session_process import SessionProcess
from tfsctl.exporter.synthetic_examples import serialized_examples

Trial = tuple[Literal["samples", "synthetic"], Arrays, bool]
"""The kind of the rows, the inputs, and whether the rows are distinct."""

_SYNTHETIC_ROWS = 3
_TIMED_RUNS, _TIMING_S = 3, 0.1
_FREE_SIZES = (1, 8, 64)  # tried in turn for free dimensions other than the batch: a convolution needs space
# TensorFlow errors that no other input would avoid: the version itself is broken.
_BROKEN_STATUSES = {"ABORTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED"}
_BROKEN_MESSAGES = ("No OpKernel was registered", "Op type not registered")


def tensor_function(call: Callable[..., Mapping[str, Any]], specs: Sequence[TensorSpec]) -> Run:
    """A function from arrays to arrays by name, from one that takes a tensor for each of `specs`, in that order."""
    import tensorflow as tf

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        answer = call(*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
        return {name: np.asarray(tensor) for name, tensor in answer.items()}

    return run


def verify(
    directory: Path,
    signatures: Mapping[str, Signature],
    reference: Mapping[str, Run],
    rows: Samples | None,
    *,
    timeout_s: float = CHECK_TIMEOUT_S,
) -> Verification:
    """Check every signature of the SavedModel in `directory`.

    `reference` runs the source model, by signature; without it there is no comparison. `rows` are samples for
    `serving_default`. Loading, and each run, may take `timeout_s`.

    The results hold what was measured: the time of runs, and the memory of the process that loaded the version.

    Raises ExportError if a server cannot load the version or run a signature, or the outputs differ from the source's.
    """
    if not signatures:
        raise ExportError("the model has no signatures, so a server could not answer requests")
    meta_graph = read_meta_graph(directory)
    graphs = {name: signature_graph(meta_graph, name) for name in signatures}
    for name, graph in graphs.items():
        _refuse_python(name, graph)
    try:
        process = SessionProcess(directory, timeout_s=timeout_s)
    except error_text.TensorFlowError as error:
        raise ExportError(
            f"the exported version cannot be loaded: {error_text.one_line(error)}", hint=error_text.hint_for(error)
        ) from error
    with process:
        checks = tuple(
            _check(
                signature,
                graphs[name],
                process,
                reference.get(name),
                None if rows is None else rows.of(name),
            )
            for name, signature in signatures.items()
        )
        return Verification(checks, process.memory())


def _refuse_python(name: str, graph: SignatureGraph) -> None:
    if graph.python_ops:
        raise ExportError(
            f"signature {name} calls Python code ({', '.join(graph.python_ops)}), and a model server has no Python",
            hint="replace tf.numpy_function and tf.py_function by TensorFlow operations",
        )


def _check(
    signature: Signature, graph: SignatureGraph, process: SessionProcess, reference: Run | None, rows: Samples | None
) -> SignatureCheck:
    not_dense = [spec for spec in (*signature.inputs, *signature.outputs) if spec.encoding != "dense"]
    if not_dense:
        names = ", ".join(f"{spec.name} is a {spec.encoding} tensor" for spec in not_dense)
        note = f"it cannot be called with predict: {names}, and requests and responses hold dense tensors"
        return SignatureCheck(signature.name, "none", notes=(note,))
    features = features_of(graph, signature)
    exported = partial(process.run, signature.name)
    notes: list[str] = []
    if graph.changes_state:
        notes.append("it keeps state: an answer depends on the requests before it")
    reason = ""
    broken: error_text.TensorFlowError | None = None
    for kind, inputs, distinct in _trials(signature, features, rows, notes):
        try:
            answer = exported(inputs)
        except error_text.TensorFlowError as error:
            if error.status in _BROKEN_STATUSES or any(words in str(error) for words in _BROKEN_MESSAGES):
                raise ExportError(
                    f"no server can answer with signature {signature.name}: {error_text.one_line(error)}",
                    hint=error_text.hint_for(error),
                ) from error
            if reference is not None and _answers(reference, inputs):
                broken = error
                where = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
                notes.append(f"it fails on {where}, which the model itself accepts: {error_text.one_line(error)}")
                if kind == "samples":
                    break
                continue  # it may be only this size that Keras traced wrongly
            reason = f"not run on {kind} rows: {error_text.one_line(error)}"
            if kind == "samples":
                notes.append(reason)
            continue
        first_run_s = process.last_run_s
        difference = None
        if reference is not None:
            difference, remark = _compare(answer, reference, inputs, signature.name)
            notes += remark
        may_test = distinct and broken is None  # merged rows could have a size that fails
        row_tests = _test_rows(signature, graph, exported, inputs, kind) if may_test else None
        if row_tests is not None and row_tests.reason and (kind == "samples" or row_tests.verdict is False):
            notes.append(f"rows may not be merged into batches: {row_tests.reason}")
        return SignatureCheck(
            signature.name,
            kind,
            rows=max((len(array) for array in inputs.values() if array.ndim), default=1),
            max_difference=difference,
            row_independent=row_tests.verdict if row_tests is not None else None,
            notes=tuple(notes),
            row_tests=row_tests,
            trial=inputs,
            changes_state=graph.changes_state,
            first_run_s=first_run_s,
            run_s=None if graph.changes_state else _run_s(process, signature.name, inputs),
            features=features,
        )
    if broken is not None:
        raise ExportError(
            f"signature {signature.name} fails on rows that the model itself accepts: {error_text.one_line(broken)}"
        ) from broken
    return SignatureCheck(
        signature.name, "none", notes=tuple(dict.fromkeys(filter(None, [*notes, reason]))), features=features
    )


def _test_rows(
    signature: Signature, graph: SignatureGraph, exported: Run, inputs: Arrays, kind: str
) -> RowIndependence | None:
    """Run the rows of a trial in other batches.

    Samples are real inputs, so they decide. On synthetic rows, independence is established only if no operation
    of the signature could make other rows behave differently. None if the signature takes no batches or keeps state.
    """
    if kind == "samples":
        return rows_are_independent(exported, inputs)
    tensors = (*signature.inputs, *signature.outputs)
    if graph.changes_state or any(spec.shape is None or spec.shape[:1] != (None,) for spec in tensors):
        return None
    found = rows_are_independent(exported, inputs)
    mixing = mixing_operations(graph) if found.verdict else []
    if mixing:
        reason = f"only real rows can show whether rows are independent with {', '.join(mixing)}; define `samples`"
        return replace(found, verdict=None, reason=reason)
    return found


def _run_s(process: SessionProcess, name: str, inputs: Arrays) -> float:
    """The median seconds of some more runs: at most _TIMED_RUNS, and no more after _TIMING_S."""
    times: list[float] = []
    while not times or (len(times) < _TIMED_RUNS and sum(times) < _TIMING_S):
        process.run(name, inputs)
        times.append(process.last_run_s)
    return median(times)


def _trials(
    signature: Signature, features: Mapping[str, FeatureSpec] | None, rows: Samples | None, notes: list[str]
) -> Iterator[Trial]:
    """The inputs to run a signature on, best first. Adds a note for samples that could not be used."""
    if not signature.inputs:
        yield "synthetic", {}, False
        return
    if rows is not None:
        try:
            fitted = rows.fit(signature.inputs)
        except InvalidInput as error:
            notes.append(f"`samples` was not used: {error.message}")
        else:
            yield "samples", fitted, True
    for distinct in (True, False):
        if features is not None:
            yield (
                "synthetic",
                serialized_examples(signature.inputs[0], features, rows=_SYNTHETIC_ROWS, distinct=distinct),
                distinct,
            )
            continue
        for free in _FREE_SIZES:
            try:
                made = samples.synthetic_inputs(signature.inputs, rows=_SYNTHETIC_ROWS, free=free, distinct=distinct)
            except InvalidInput as error:
                notes.append(f"not run: {error.message}")
                return
            yield "synthetic", made, distinct
    images = _image_inputs(signature, features)
    if images is not None:
        yield "synthetic", images, True
    if features is None and any(spec.shape is None for spec in signature.inputs):
        scalars = [replace(spec, shape=() if spec.shape is None else spec.shape) for spec in signature.inputs]
        yield "synthetic", samples.synthetic_inputs(scalars, rows=_SYNTHETIC_ROWS, free=1), False


def _image_inputs(signature: Signature, features: Mapping[str, FeatureSpec] | None) -> Arrays | None:
    """Rows with images where the signature takes bytes; None if it takes none."""
    if features is not None:
        spec = signature.inputs[0]
        return serialized_examples(spec, features, rows=_SYNTHETIC_ROWS, distinct=True, images=True)
    texts = [spec.name for spec in signature.inputs if spec.dtype == "string"]
    if not texts:
        return None
    made = samples.synthetic_inputs(signature.inputs, rows=_SYNTHETIC_ROWS, free=1, distinct=True)
    for name in texts:
        made[name] = np.resize(object_array(samples.png_images(_SYNTHETIC_ROWS)), made[name].shape)
    return made


def _answers(run: Run, inputs: Arrays) -> bool:
    try:
        run(inputs)
    except Exception:  # noqa: BLE001 - whatever the model raises
        return False
    return True


def _compare(answer: Arrays, reference: Run, inputs: Arrays, name: str) -> tuple[float | None, list[str]]:
    """The largest difference from the outputs of the source model; None, and the reason, if they cannot be compared."""
    try:
        expected = reference(inputs)
    except Exception as error:  # noqa: BLE001 - whatever the model raises
        return None, [f"not compared: the model itself fails on these rows: {error_text.one_line(error)}"]
    difference = largest_difference(expected, answer)
    if agree(expected, answer, tolerance=EXPORT_TOLERANCE):
        return difference, []
    if not agree(expected, reference(inputs), tolerance=EXPORT_TOLERANCE):
        return None, ["not compared: the model answers the same rows differently each time"]
    raise ExportError(
        f"signature {name} gives other predictions than the model itself: they differ by up to {difference:g}",
        hint="this happens if the model keeps state, or if it read Python values while it was traced",
    )
