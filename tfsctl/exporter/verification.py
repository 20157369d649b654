"""Verifies a written version before it is published: a server must be able to load it, run it, and answer correctly.

The version is loaded in a fresh process by the embedded server's own code. Each signature runs on samples of the source
or on synthetic rows, and its outputs are compared with those of the source model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tfsctl.core.batches import NamedArrays
from tfsctl.core.graphs.feature_specs import features_of
from tfsctl.core.graphs.signature_graph import SignatureGraph, signature_graph
from tfsctl.core.saved_model import read_meta_graph
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import ExportError
from tfsctl.exporter import error_text
from tfsctl.exporter.evidence.row_operations import mixing_operations
from tfsctl.exporter.exported import CHECK_TIMEOUT_S, SignatureCheck, Verification
from tfsctl.exporter.output_comparison import (
    EXPORT_TOLERANCE,
    RowIndependence,
    Run,
    agree,
    check_row_independence,
    largest_difference,
)
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.session_process import SessionProcess
from tfsctl.exporter.trials import Trial, trials

_TIMED_RUNS, _TIMING_S = 3, 0.1
_PYTHON_FILE_HINT = (
    "write a Python file that loads it with tf.saved_model.load and defines `model`, a tf.function with an "
    "input_signature that takes and returns dense tensors, and export that"
)
# TensorFlow errors that no other input would avoid: the version itself is broken.
_BROKEN_STATUSES = {"ABORTED", "DEADLINE_EXCEEDED", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED"}
_BROKEN_MESSAGES = ("No OpKernel was registered", "Op type not registered")


def tensor_function(call: Callable[..., Mapping[str, Any]], specs: Sequence[TensorSpec]) -> Run:
    """A function from arrays to arrays by name, from one that takes a tensor for each of `specs`, in that order."""
    import tensorflow as tf

    def run(inputs: NamedArrays) -> dict[str, np.ndarray]:
        answer = call(*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
        return {name: np.asarray(tensor) for name, tensor in answer.items()}

    return run


def verify(
    directory: Path,
    signatures: Mapping[str, Signature],
    reference: Mapping[str, Run],
    samples: Samples | None,
    *,
    timeout_s: float = CHECK_TIMEOUT_S,
) -> Verification:
    """Check every signature of the SavedModel in `directory`.

    `reference` runs the source model, by signature; without it there is no comparison. `samples` are for
    `serving_default`. Loading, and each run, may take `timeout_s`.

    The results hold what was measured: the time of runs, and the memory of the process that loaded the version.

    Raises ExportError if a server cannot load the version or run a signature, or the outputs differ from the source's.
    """
    if not signatures:
        raise ExportError("the model has no signatures, so a server could not answer requests", hint=_PYTHON_FILE_HINT)
    uncallable = {name: reason for name, one in signatures.items() if (reason := _why_uncallable(one))}
    if len(uncallable) == len(signatures):
        name, reason = next(iter(uncallable.items()))
        raise ExportError(f"no signature can be called with predict: {name}: {reason}", hint=_PYTHON_FILE_HINT)
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
                None if samples is None else samples.of(name),
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


def _why_uncallable(signature: Signature) -> str:
    """Why no predict request can call a signature; empty if one can."""
    if not signature.outputs:
        return "it has no outputs"
    not_dense = [spec for spec in (*signature.inputs, *signature.outputs) if spec.encoding != "dense"]
    if not not_dense:
        return ""
    names = ", ".join(f"{spec.name} is a {spec.encoding} tensor" for spec in not_dense)
    return f"{names}, and requests and responses hold dense tensors"


def _check(
    signature: Signature, graph: SignatureGraph, process: SessionProcess, reference: Run | None, samples: Samples | None
) -> SignatureCheck:
    reason = _why_uncallable(signature)
    if reason:
        return SignatureCheck(signature.name, "none", notes=(f"it cannot be called with predict: {reason}",))
    return _SignatureChecker(signature, graph, process, reference).check(samples)


class _SignatureChecker:
    """Runs one signature on trial inputs until one of them gives an answer, and checks that answer."""

    def __init__(
        self, signature: Signature, graph: SignatureGraph, process: SessionProcess, reference: Run | None
    ) -> None:
        self._signature, self._graph, self._process, self._reference = signature, graph, process, reference
        self._features = features_of(graph, signature)
        self._notes = ["it keeps state: an answer depends on the requests before it"] if graph.changes_state else []
        self._not_run = ""  # why the last trial was not run
        self._failure: error_text.TensorFlowError | None = None  # on inputs that the source model accepts

    def check(self, samples: Samples | None) -> SignatureCheck:
        """Run the trials. Raises ExportError if no server could answer, or the outputs differ from the source's."""
        for trial in trials(self._signature, self._features, samples, self._notes):
            try:
                answer = self._run(trial.inputs)
            except error_text.TensorFlowError as error:
                self._note_failure(trial, error)
            else:
                return self._check_answer(trial, answer)
            if self._failure is not None and trial.kind == "samples":
                break  # samples must run; a synthetic size may be one that Keras traced wrongly
        if self._failure is not None:
            raise ExportError(
                f"signature {self._signature.name} fails on rows that the model itself accepts: "
                f"{error_text.one_line(self._failure)}"
            ) from self._failure
        notes = tuple(dict.fromkeys(filter(None, [*self._notes, self._not_run])))
        return SignatureCheck(self._signature.name, "none", notes=notes, features=self._features)

    def _run(self, inputs: NamedArrays) -> dict[str, np.ndarray]:
        return self._process.run(self._signature.name, inputs)

    def _note_failure(self, trial: Trial, error: error_text.TensorFlowError) -> None:
        """Keep why a trial failed. Raises ExportError if every other input would fail, too."""
        if error.status in _BROKEN_STATUSES or any(words in str(error) for words in _BROKEN_MESSAGES):
            raise ExportError(
                f"no server can answer with signature {self._signature.name}: {error_text.one_line(error)}",
                hint=error_text.hint_for(error),
            ) from error
        if self._reference is not None and _succeeds(self._reference, trial.inputs):
            self._failure = error
            where = ", ".join(f"{name} {list(array.shape)}" for name, array in trial.inputs.items())
            self._notes.append(f"it fails on {where}, which the model itself accepts: {error_text.one_line(error)}")
            return
        self._not_run = f"not run on {trial.kind} rows: {error_text.one_line(error)}"
        if trial.kind == "samples":
            self._notes.append(self._not_run)

    def _check_answer(self, trial: Trial, answer: NamedArrays) -> SignatureCheck:
        """The check of a trial that ran: compares the answer with the source's, tests the rows, and times more runs."""
        first_run_s = self._process.last_run_s
        difference = None
        if self._reference is not None:
            difference, remark = _compare(answer, self._reference, trial.inputs, self._signature.name)
            self._notes += remark
        may_test = trial.distinct and self._failure is None  # merged rows could have a size that fails
        row_tests = _test_rows(self._signature, self._graph, self._run, trial) if may_test else None
        if row_tests is not None and row_tests.reason and (trial.kind == "samples" or row_tests.verdict is False):
            self._notes.append(f"rows may not be merged into batches: {row_tests.reason}")
        changes_state = self._graph.changes_state
        return SignatureCheck(
            self._signature.name,
            trial.kind,
            rows=max((len(array) for array in trial.inputs.values() if array.ndim), default=1),
            max_difference=difference,
            row_independent=row_tests.verdict if row_tests is not None else None,
            notes=tuple(self._notes),
            row_tests=row_tests,
            input_arrays=trial.inputs,
            changes_state=changes_state,
            first_run_s=first_run_s,
            run_s=None if changes_state else _median_run_s(self._process, self._signature.name, trial.inputs),
            features=self._features,
        )


def _test_rows(signature: Signature, graph: SignatureGraph, run: Run, trial: Trial) -> RowIndependence | None:
    """Run the rows of a trial in other batches.

    Samples are real inputs, so they decide. On synthetic rows, independence is established only if no operation
    of the signature could make other rows behave differently. None if the signature takes no batches or keeps state.
    """
    if trial.kind == "samples":
        return check_row_independence(run, trial.inputs)
    tensors = (*signature.inputs, *signature.outputs)
    if graph.changes_state or any(spec.shape is None or spec.shape[:1] != (None,) for spec in tensors):
        return None
    found = check_row_independence(run, trial.inputs)
    mixing = mixing_operations(graph) if found.verdict else []
    if mixing:
        reason = f"only real rows can show whether rows are independent with {', '.join(mixing)}; define `samples`"
        return replace(found, verdict=None, reason=reason)
    return found


def _median_run_s(process: SessionProcess, name: str, inputs: NamedArrays) -> float:
    """The median seconds of more runs: at most _TIMED_RUNS, and none after _TIMING_S seconds in total."""
    times: list[float] = []
    while not times or (len(times) < _TIMED_RUNS and sum(times) < _TIMING_S):
        process.run(name, inputs)
        times.append(process.last_run_s)
    return median(times)


def _succeeds(run: Run, inputs: NamedArrays) -> bool:
    try:
        run(inputs)
    except Exception:  # noqa: BLE001 - whatever the model raises
        return False
    return True


def _compare(answer: NamedArrays, reference: Run, inputs: NamedArrays, name: str) -> tuple[float | None, list[str]]:
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
