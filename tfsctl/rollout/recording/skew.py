"""Training/serving skew: compares the inputs of recorded requests with the training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.core.arrays import object_array
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.blocks import UnreadableValue
from tfsctl.data.readers.prediction_logs import read_recording
from tfsctl.data.readers.recording_rows import RecordingRows
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import Format, open_source
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.comparison.gates import Gate, GateResult, check_gates
from tfsctl.rollout.recording.value_summary import ValueSummary, out_of_range, out_of_vocabulary, stability_index

ALL_INPUTS = ""
METRICS = ("missing", "out_of_range", "out_of_vocabulary", "psi")
_EXAMPLE_DTYPES = {"bytes_list": "string", "float_list": "float32", "int64_list": "int64"}


@dataclass(frozen=True, slots=True)
class InputSkew:
    """How far one input is from the training data. Shares are 0 to 1; NaN: not defined for this kind.

    `missing` is the share of missing values in the recording, `missing_in_training` that in the training data.
    """

    input: str
    kind: str
    missing_in_training: float
    missing: float
    out_of_range: float
    out_of_vocabulary: float
    psi: float

    def numbers(self) -> dict[str, float]:
        """The metrics that thresholds name."""
        return {name: getattr(self, name) for name in METRICS}


@dataclass(frozen=True, slots=True)
class Skew:
    """The result: an entry for each input, the numbers of rows, and the outcome of each threshold."""

    inputs: tuple[InputSkew, ...]
    recorded_rows: int
    training_rows: int
    gates: tuple[GateResult, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no threshold was crossed."""
        return all(gate.outcome == "passed" for gate in self.gates)

    def document(self) -> dict[str, Any]:
        """The result as JSON values; NaN becomes null."""
        whole = {**asdict(self), "passed": self.passed}
        for entry in (*whole["inputs"], *whole["gates"]):
            for name, value in entry.items():
                if isinstance(value, float) and not math.isfinite(value):
                    entry[name] = None
        return whole


def recorded_signature(recording: Path | str, name: str, ignore: Collection[str] = ()) -> Signature:
    """The inputs (or features of tf.Examples) that the requests for a signature have.

    Raises InvalidInput if there are none, and NotFound for an ignored one that is not there.
    """
    specs: dict[str, TensorSpec] = {}
    for request in read_recording(recording):
        for spec in _specs(request.log, name):
            earlier = specs.get(spec.name)
            if earlier is None:
                specs[spec.name] = spec
            elif earlier.shape != spec.shape:
                specs[spec.name] = replace(earlier, shape=_common_shape(earlier, spec))
    if not specs:
        raise InvalidInput(f"{recording} has no request for the signature {name}", hint="--signature NAME")
    for ignored in ignore:
        if ignored not in specs:
            raise NotFound(f"the recording has no input {ignored!r}", hint=f"its inputs are {', '.join(sorted(specs))}")
    kept = [spec for key, spec in sorted(specs.items()) if key not in ignore]
    return Signature(name, tuple(kept), ())


def _specs(log: protos.PredictionLog, name: str) -> Iterable[TensorSpec]:
    if log.HasField("predict_log"):
        request = log.predict_log.request
        if (request.model_spec.signature_name or "serving_default") == name:
            for alias, proto in request.inputs.items():
                dtype = dtypes.BY_NUMBER.get(proto.dtype)
                sizes = tuple(dim.size for dim in proto.tensor_shape.dim)
                yield TensorSpec(alias, dtype.name if dtype else "string", (None, *sizes[1:]))
        return
    if log.HasField("session_run_log"):
        return
    message = getattr(log, log.WhichOneof("log_type") or "").request.input
    kind = message.WhichOneof("kind")
    listed = getattr(message, kind).examples if kind else ()
    for example in listed:
        for feature, value in example.features.feature.items():
            found = value.WhichOneof("kind")
            if found is not None:
                count = len(getattr(value, found).value)
                yield TensorSpec(feature, _EXAMPLE_DTYPES[found], (None,) if count == 1 else (None, None))


def _common_shape(one: TensorSpec, other: TensorSpec) -> tuple[int | None, ...] | None:
    if one.shape is None or other.shape is None or len(one.shape) != len(other.shape):
        return None
    return tuple(a if a == b else None for a, b in zip(one.shape, other.shape, strict=True))


def measure(
    recording: Path | str,
    training: str,
    signature: Signature,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    gates: Sequence[Gate] = (),
    min_rows: int = 30,
    note: Callable[[str], None] = lambda _text: None,
) -> Skew:
    """Compare the recorded inputs with the training file. Raises what reading the files raises, and InvalidInput."""
    before, training_rows = _training_summaries(training, signature, format, columns or {}, note)
    after, recorded_rows = _recorded_summaries(recording, signature, note)
    inputs = tuple(
        InputSkew(
            spec.name,
            before[spec.name].kind,
            before[spec.name].missing_share,
            after[spec.name].missing_share,
            out_of_range(before[spec.name], after[spec.name]),
            out_of_vocabulary(before[spec.name], after[spec.name]),
            stability_index(before[spec.name], after[spec.name]),
        )
        for spec in signature.inputs
    )
    numbers = {one.input: one.numbers() for one in inputs}
    numbers[ALL_INPUTS] = {name: _worst(one.numbers()[name] for one in inputs) for name in METRICS}
    rows = dict.fromkeys(numbers, min(recorded_rows, training_rows))
    return Skew(inputs, recorded_rows, training_rows, tuple(check_gates(gates, numbers, rows, min_rows)))


def _worst(values: Iterable[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


def _summaries(signature: Signature) -> dict[str, ValueSummary]:
    return {spec.name: ValueSummary(is_text=spec.dtype == "string") for spec in signature.inputs}


def _training_summaries(
    training: str,
    signature: Signature,
    chosen: Format | None,
    columns: Mapping[str, str],
    note: Callable[[str], None],
) -> tuple[dict[str, ValueSummary], int]:
    summaries, rows, rejected = _summaries(signature), 0, 0
    source = open_source(training, signature, format=chosen, note=note)
    for batch in shape_rows(source, signature, renamed=columns, skip_bad_rows=True):
        rows += len(batch.rows)
        rejected += len(batch.rejects)
        for name, array in batch.arrays.items():
            summaries[name].add(array)
    if rejected:
        note(f"{source.name}: {rejected:,} rows do not fit the inputs and were skipped")
    if not rows:
        raise InvalidInput(f"{source.name} has no rows that fit the inputs")
    return summaries, rows


def _recorded_summaries(
    recording: Path | str, signature: Signature, note: Callable[[str], None]
) -> tuple[dict[str, ValueSummary], int]:
    summaries, rows = _summaries(signature), 0
    for block in RecordingRows(str(recording), recording, signature, note).blocks():
        rows += block.count
        for name, summary in summaries.items():
            values = block.column(name) if name in block.names else [UnreadableValue()] * block.count
            present = [value for value in values if not isinstance(value, UnreadableValue)]
            summary.add_missing(len(values) - len(present))
            if present:
                summary.add(_flat(present, is_text=summary.is_text))
    return summaries, rows


def _flat(values: Sequence[object], *, is_text: bool) -> np.ndarray:
    """All values of nested lists."""
    flat: list[Any] = []
    stack: list[object] = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, list | tuple):
            stack.extend(value)
        else:
            flat.append(value)
    return object_array(flat) if is_text else np.array(flat, float)
