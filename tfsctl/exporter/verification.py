"""Verifies a written version before it is published: a server must be able to load it, run it, and answer correctly.

The version is loaded in a fresh process by the embedded server's own code. Each signature runs on samples of the source
or on synthetic rows, and its outputs are compared with those of the source model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfsctl.core.graphs.signature_graph import SignatureGraph, signature_graph
from tfsctl.core.saved_model import read_meta_graph
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature, TensorSpec
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text, samples
from tfsctl.exporter.comparison import EXPORT_TOLERANCE, Arrays, Run, agree, largest_difference, rows_are_independent
from tfsctl.exporter.exported import SignatureCheck
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.session_process import SessionProcess
from tfsctl.exporter.synthetic_examples import serialized_examples

Trial = tuple[Literal["samples", "synthetic"], Arrays]

_SYNTHETIC_ROWS = 2
_FREE_SIZES = (1, 8, 64)  # tried in turn for free dimensions other than the batch: a convolution needs space
# TensorFlow errors that no other input would avoid: the version itself is broken.
_BROKEN_STATUSES = {"ABORTED", "FAILED_PRECONDITION", "NOT_FOUND", "UNIMPLEMENTED"}
_BROKEN_MESSAGES = ("No OpKernel was registered", "Op type not registered")


def tensor_function(call: Callable[..., Mapping[str, Any]], specs: Sequence[TensorSpec]) -> Run:
    """A function from arrays to arrays by name, from one that takes a tensor for each of `specs`, in that order."""
    import tensorflow as tf

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        answer = call(*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
        return {name: np.asarray(tensor) for name, tensor in answer.items()}

    return run


def verify(
    directory: Path, signatures: Mapping[str, Signature], reference: Mapping[str, Run], rows: Samples | None
) -> tuple[SignatureCheck, ...]:
    """Check every signature of the SavedModel in `directory`.

    `reference` runs the source model, by signature; without it there is no comparison. `rows` are samples for
    `serving_default`.

    Raises ExportError if a server cannot load the version or run a signature, or the outputs differ from the source's.
    """
    if not signatures:
        raise ExportError("the model has no signatures: a model server could not answer with it")
    meta_graph = read_meta_graph(directory)
    graphs = {name: signature_graph(meta_graph, name) for name in signatures}
    for name, graph in graphs.items():
        _refuse_python(name, graph)
    try:
        process = SessionProcess(directory)
    except error_text.TensorFlowError as error:
        raise ExportError(f"what was written cannot be loaded: {error_text.one_line(error)}") from error
    with process:
        return tuple(
            _check(
                signature,
                graphs[name],
                lambda inputs, name=name: process.run(name, inputs),  # type: ignore[misc]
                reference.get(name),
                rows if name == DEFAULT_SIGNATURE else None,
            )
            for name, signature in signatures.items()
        )


def _refuse_python(name: str, graph: SignatureGraph) -> None:
    if graph.python_ops:
        raise ExportError(
            f"signature {name} calls Python code ({', '.join(graph.python_ops)}), and a model server has no Python",
            hint="replace tf.numpy_function and tf.py_function by TensorFlow operations",
        )


def _check(
    signature: Signature, graph: SignatureGraph, exported: Run, reference: Run | None, rows: Samples | None
) -> SignatureCheck:
    not_dense = [spec for spec in (*signature.inputs, *signature.outputs) if spec.encoding != "dense"]
    if not_dense:
        names = ", ".join(f"{spec.name} is a {spec.encoding} tensor" for spec in not_dense)
        note = f"it cannot be called with predict: {names}, and requests and responses hold dense tensors"
        return SignatureCheck(signature.name, "none", notes=(note,))
    notes: list[str] = []
    if graph.changes_state:
        notes.append("it keeps state: an answer depends on the requests before it")
    reason = ""
    for kind, inputs in _trials(signature, graph, rows, notes):
        try:
            answer = exported(inputs)
        except error_text.TensorFlowError as error:
            if error.status in _BROKEN_STATUSES or any(words in str(error) for words in _BROKEN_MESSAGES):
                raise ExportError(
                    f"no server can answer with signature {signature.name}: {error_text.one_line(error)}"
                ) from error
            if reference is not None and _answers(reference, inputs):
                raise ExportError(
                    f"signature {signature.name} fails where the model itself answers: {error_text.one_line(error)}"
                ) from error
            reason = f"not run on {kind} rows: {error_text.one_line(error)}"
            if kind == "samples":
                notes.append(reason)
            continue
        difference = None
        if reference is not None:
            difference, remark = _compare(answer, reference, inputs, signature.name)
            notes += remark
        independent = None
        if kind == "samples":
            independent, why = rows_are_independent(exported, inputs)
            notes += [f"rows may not be merged into batches: {why}"] if why else []
        count = max((len(array) for array in inputs.values() if array.ndim), default=1)
        return SignatureCheck(signature.name, kind, count, difference, independent, tuple(notes))
    return SignatureCheck(signature.name, "none", notes=tuple(dict.fromkeys([*notes, reason])))


def _trials(signature: Signature, graph: SignatureGraph, rows: Samples | None, notes: list[str]) -> Iterator[Trial]:
    """The inputs to run a signature on, best first. Adds to `notes` what could not be used."""
    if not signature.inputs:
        yield "synthetic", {}
        return
    if rows is not None:
        try:
            fitted = rows.fit(signature.inputs)
        except InvalidInput as error:
            notes.append(f"`samples` was not used: {error.message}")
        else:
            yield "samples", fitted
    examples = serialized_examples(graph, signature, rows=_SYNTHETIC_ROWS)
    if examples is not None:
        yield "synthetic", examples
        return
    for free in _FREE_SIZES:
        try:
            made = samples.synthetic_inputs(signature.inputs, rows=_SYNTHETIC_ROWS, free=free)
        except InvalidInput as error:
            notes.append(f"not run: {error.message}")
            return
        yield "synthetic", made
    if any(spec.shape is None for spec in signature.inputs):
        scalars = [replace(spec, shape=() if spec.shape is None else spec.shape) for spec in signature.inputs]
        yield "synthetic", samples.synthetic_inputs(scalars, rows=_SYNTHETIC_ROWS, free=1)


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
        return None, ["not compared: the model does not answer the same question twice in the same way"]
    raise ExportError(
        f"signature {name} answers otherwise than the model itself: the largest difference is {difference:g}",
        hint="a model that keeps state or depends on Python values at tracing time does that",
    )
