"""`compare`: send the same rows to both sides at the same time, and collect the differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from tfsctl.clients.bulk.bulk_predictor import BulkOptions, BulkPredictor
from tfsctl.core import compatibility
from tfsctl.core.batches import NamedArrays, RowBatch, batch_reader, fixed_batch_size, request_arrays
from tfsctl.core.types import Signature
from tfsctl.errors import InvalidInput, TfsctlError
from tfsctl.rollout.comparison import latency
from tfsctl.rollout.comparison.comparison_builder import NOISE_ROWS, ComparisonBuilder, Scoring
from tfsctl.rollout.comparison.gates import MIN_ROWS, Gate, check_gates
from tfsctl.rollout.comparison.output_difference import Tolerance
from tfsctl.rollout.comparison.result import Comparison, Quantile
from tfsctl.rollout.comparison.sides import Side

LATENCY_REQUESTS = 200  # pairs of single requests
_A, _B, _AGAIN, _INPUT = "a:", "b:", "again:", "input:"


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """What to compare. `batch_size` and `concurrency`: None for tuned; `latency_requests`: pairs of single requests."""

    tolerance: Tolerance
    slices: tuple[tuple[str, ...], ...] = ()
    gates: tuple[Gate, ...] = ()
    min_rows: int = MIN_ROWS
    batch_size: int | None = None
    concurrency: int | None = None
    latency_requests: int = LATENCY_REQUESTS


def common_signature(a: Side, b: Side, name: str) -> Signature:
    """A's signature of that name, if B takes the same inputs. Raises InvalidInput with what differs."""
    for side in (a, b):
        if name not in side.served.signatures:
            known = ", ".join(side.served.signatures)
            raise InvalidInput(f"{side.name} has no signature {name!r}", hint=f"its signatures: {known}")
    signature, other = a.served.signatures[name], b.served.signatures[name]
    if {(one.name, one.dtype) for one in signature.inputs} != {(one.name, one.dtype) for one in other.inputs}:
        changes = compatibility.compare_signatures({name: signature}, {name: other})
        what = "; ".join(change.what for change in changes if change.what.startswith("input"))
        raise InvalidInput(
            f"{a.name} and {b.name} do not take the same inputs: {what}", hint="--signature NAME compares another one"
        )
    if not {one.name for one in signature.outputs} & {one.name for one in other.outputs}:
        raise InvalidInput(f"{a.name} and {b.name} have no output in common")
    return signature


def compare(
    a: Side,
    b: Side,
    signature: Signature,
    batches: Iterator[RowBatch],
    options: ComparisonOptions,
    *,
    scoring: Scoring | None = None,
    show: Callable[[int, float | None], None] | None = None,
) -> Comparison:
    """Compare two sides on rows that fit `signature`.

    `scoring` is the task, if there is one. `show` receives the rows so far and the fraction of the file.

    Raises what reading the rows and the clients raise, and InvalidInput without any rows, or for a gate on an unknown
    metric or slice.
    """
    builder = ComparisonBuilder(options.tolerance, scoring=scoring, slices=options.slices, min_rows=options.min_rows)
    fixed = fixed_batch_size(signature)
    sampled: list[NamedArrays] = []
    skipped = 0
    with ThreadPoolExecutor(max_workers=32, thread_name_prefix="compare-b") as pool:
        sides = _SidePair(a, b, signature, pool)
        settings = BulkOptions(
            batch_size=options.batch_size or fixed, concurrency=options.concurrency, divisible=fixed in (None, 1)
        )
        for answered in BulkPredictor(batch_reader(batches), sides.predict, settings):
            skipped += len(answered.batch.rejects)
            if len(answered.batch):
                outputs = answered.outputs
                _sample(sampled, _only(outputs, _INPUT), options.latency_requests, fixed or 1)
                again = _only(outputs, _AGAIN)
                _, stable = builder.add(
                    answered.batch.rows,
                    _only(outputs, _INPUT),
                    _only(outputs, _A),
                    _only(outputs, _B),
                    answered.batch.labels,
                    again=again or None,
                )
                sides.note_checked(len(answered.batch), int((~stable).sum()))
            if show is not None:
                show(builder.rows, answered.batch.fraction_read)
    if not builder.rows:
        raise InvalidInput("there are no rows to compare", hint="--file FILE names rows")
    comparison = builder.build(
        a.facts(),
        b.facts(),
        changes=compatibility.compare_signatures(a.served.signatures, b.served.signatures),
        latency=_latency(a, b, signature, sampled),
        skipped=skipped,
    )
    gates = check_gates(options.gates, comparison.numbers(), comparison.counts(), options.min_rows)
    comparison.gates.extend(gates)
    return comparison


class _SidePair:
    """Sends a batch to both sides at once, and to A a second time while it is not known that A agrees with itself."""

    def __init__(self, a: Side, b: Side, signature: Signature, pool: ThreadPoolExecutor) -> None:
        self._a, self._b, self._signature, self._pool = a, b, signature, pool
        self._checked = 0
        self._has_unstable_rows = False

    def note_checked(self, rows: int, unstable: int) -> None:
        """Note the number of rows of a batch, and on how many of them A disagreed with itself."""
        self._checked += rows
        self._has_unstable_rows |= unstable > 0

    def predict(self, batch: RowBatch) -> Mapping[str, np.ndarray]:
        """The outputs of both sides and the inputs, with a prefix for each."""
        arrays = request_arrays(batch, self._signature)
        other = self._pool.submit(self._ask, self._b, arrays)
        found = _prefixed(_A, self._ask(self._a, arrays))
        if self._has_unstable_rows or self._checked < NOISE_ROWS:
            found |= _prefixed(_AGAIN, self._ask(self._a, arrays))
        return {**found, **_prefixed(_B, other.result()), **_prefixed(_INPUT, batch.arrays)}

    def _ask(self, side: Side, arrays: NamedArrays) -> NamedArrays:
        try:
            return side.client.predict(side.model, arrays, signature=self._signature.name).outputs
        except TfsctlError as error:
            error.message = f"{side.name}: {error.message}"
            error.args = (error.message,)
            raise


def _prefixed(prefix: str, arrays: NamedArrays) -> dict[str, np.ndarray]:
    return {prefix + name: array for name, array in arrays.items()}


def _only(arrays: NamedArrays, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _sample(sampled: list[NamedArrays], inputs: NamedArrays, count: int, rows: int) -> None:
    """Keep requests of `rows` rows from the first batches."""
    available = len(next(iter(inputs.values()))) if inputs else 0
    for start in range(0, available - rows + 1, rows):
        if len(sampled) >= count:
            return
        sampled.append({name: array[start : start + rows].copy() for name, array in inputs.items()})


def _latency(a: Side, b: Side, signature: Signature, sampled: list[NamedArrays]) -> list[Quantile]:
    """The latency of single requests, after the rows: both sides are warm then."""
    requests = []
    for inputs in sampled:
        rows = len(next(iter(inputs.values())))
        batch = RowBatch(np.arange(1, rows + 1), inputs, rows)
        arrays = request_arrays(batch, signature)
        one, other = (partial(side.client.predict, side.model, arrays, signature=signature.name) for side in (a, b))
        requests.append((one, other))
    return latency.quantiles(*latency.interleave(requests))
