"""Load what was written afresh and run every signature once, before anybody is told that there is a new version."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfsctl.core.types import DEFAULT_SIGNATURE, Signature, TensorSpec
from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text, samples
from tfsctl.exporter.comparison import EXPORT_TOLERANCE, Arrays, Run, agree, largest_difference, rows_are_independent
from tfsctl.exporter.exported import SignatureCheck
from tfsctl.exporter.samples import Samples
from tfsctl.exporter.synthetic_examples import serialized_examples

if TYPE_CHECKING:
    import tensorflow as tf

Trial = tuple[Literal["samples", "synthetic"], Arrays]

_SYNTHETIC_ROWS = 2
_FREE_SIZES = (1, 8, 64)  # for free dimensions besides the batch, tried in turn: a convolution wants room


def tensor_function(call: Callable[..., Mapping[str, Any]], specs: Sequence[TensorSpec]) -> Run:
    """A function from arrays to arrays, by name, out of one that takes a tensor for each of `specs` in order."""
    import tensorflow as tf

    def run(inputs: Arrays) -> dict[str, np.ndarray]:
        answer = call(*(tf.constant(inputs[spec.name], spec.dtype) for spec in specs))
        return {name: np.asarray(tensor) for name, tensor in answer.items()}

    return run


def verify(
    directory: Path, signatures: Mapping[str, Signature], own: Mapping[str, Run], rows: Samples | None
) -> tuple[SignatureCheck, ...]:
    """Check every signature of the SavedModel in `directory`.

    `own` is the model itself, by signature, to compare with; `rows` are for `serving_default`. Raises ExportError when
    the model cannot be loaded, or does not answer as the model itself does.
    """
    import tensorflow as tf

    if not signatures:
        raise ExportError("the model has no signatures: a model server could not answer with it")
    try:
        loaded = tf.saved_model.load(str(directory)).signatures
        functions = {name: loaded[name] for name in signatures}
    except Exception as error:
        raise ExportError(f"what was written cannot be loaded: {error_text.one_line(error)}") from error
    return tuple(
        _check(signature, functions[name], own.get(name), rows if name == DEFAULT_SIGNATURE else None)
        for name, signature in signatures.items()
    )


def _check(
    signature: Signature,
    function: tf.types.experimental.ConcreteFunction[..., Any],
    own: Run | None,
    rows: Samples | None,
) -> SignatureCheck:
    names = [spec.name for spec in signature.inputs]
    exported = tensor_function(lambda *tensors: function(**dict(zip(names, tensors, strict=True))), signature.inputs)
    notes: list[str] = []
    reason = ""
    for kind, inputs in _trials(signature, function, rows, notes):
        try:
            answer = exported(inputs)
        except Exception as error:
            if own is not None and _answers(own, inputs):
                raise ExportError(
                    f"signature {signature.name} fails where the model itself answers: {error_text.one_line(error)}"
                ) from error
            reason = f"not run on {kind} rows: {error_text.one_line(error)}"
            if kind == "samples":
                notes.append(reason)
            continue
        difference = None
        if own is not None:
            difference, remark = _compare(answer, own, inputs, signature.name)
            notes += remark
        independent = None
        if kind == "samples":
            independent, why = rows_are_independent(exported, inputs)
            notes += [f"rows may not be merged into batches: {why}"] if why else []
        count = max((len(array) for array in inputs.values() if array.ndim), default=1)
        return SignatureCheck(signature.name, kind, count, difference, independent, tuple(notes))
    return SignatureCheck(signature.name, "none", notes=tuple(dict.fromkeys([*notes, reason])))


def _trials(
    signature: Signature,
    function: tf.types.experimental.ConcreteFunction[..., Any],
    rows: Samples | None,
    notes: list[str],
) -> Iterator[Trial]:
    """What to run a signature on, best first; says in `notes` what could not be used."""
    if rows is not None:
        try:
            fitted = rows.fit(signature.inputs)
        except InvalidInput as error:
            notes.append(f"`samples` was not used: {error.message}")
        else:
            yield "samples", fitted
    examples = serialized_examples(function, signature, rows=_SYNTHETIC_ROWS)
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


def _answers(run: Run, inputs: Arrays) -> bool:
    try:
        run(inputs)
    except Exception:  # noqa: BLE001 - whatever the model raises, it does not answer
        return False
    return True


def _compare(answer: Arrays, own: Run, inputs: Arrays, name: str) -> tuple[float | None, list[str]]:
    """The largest difference from the model's own answer; None, and why, where there is nothing to compare with."""
    try:
        expected = own(inputs)
    except Exception as error:  # noqa: BLE001 - whatever the model raises, there is nothing to compare with
        return None, [f"not compared: the model itself fails on these rows: {error_text.one_line(error)}"]
    difference = largest_difference(expected, answer)
    if agree(expected, answer, tolerance=EXPORT_TOLERANCE):
        return difference, []
    if not agree(expected, own(inputs), tolerance=EXPORT_TOLERANCE):
        return None, ["not compared: the model does not answer the same question twice in the same way"]
    raise ExportError(
        f"signature {name} answers otherwise than the model itself: the largest difference is {difference:g}",
        hint="a model that keeps state or depends on Python values at tracing time does that",
    )
