"""The request for a comparison: `run` checks it, opens both sides, and compares.

The command `tfsctl compare`, `export --compare` and `tfsctl.compare` in Python all go through here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, Connection, Transport
from tfsctl.core.batches import RowBatch
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature
from tfsctl.core.version_files.manifest import read_manifest
from tfsctl.data.shaping import KeptColumns, shape_rows
from tfsctl.data.sources import FORMATS, Format, check_exists, open_source
from tfsctl.errors import InvalidInput
from tfsctl.rollout.comparison import comparing
from tfsctl.rollout.comparison.comparison_builder import Scoring
from tfsctl.rollout.comparison.gates import MIN_ROWS, check_gate_columns, parse_gate
from tfsctl.rollout.comparison.output_difference import Tolerance
from tfsctl.rollout.comparison.quality import Task
from tfsctl.rollout.comparison.result import Comparison
from tfsctl.rollout.comparison.sides import Access, Side, check_side, open_side

TASKS: tuple[Task, ...] = get_args(Task)
SAMPLES = "the samples of the manifest"


@dataclass(frozen=True, slots=True)
class ComparisonRequest:
    """The sides to compare, the rows, and the options.

    - `file`: any file that `predict --file` reads; None: the samples in the manifest of a version.
    - `columns`: input -> its column, if that has another name.
    - `target`, `task`, `score`, `labels`: the column with the right answers, the task, the output to score, and the
      names of the classes in order.
    - `slices`: names of columns, or two with a comma between them. `fail_if`: thresholds (see `gates`).
    - `connection`: TLS files and headers for sides that are servers.
    """

    file: str | None = None
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    signature: str = DEFAULT_SIGNATURE
    atol: float = 1e-5
    rtol: float = 1e-4
    target: str | None = None
    task: str | None = None
    score: str | None = None
    labels: Sequence[str] = ()
    slices: Sequence[str] = ()
    fail_if: Sequence[str] = ()
    min_rows: int = MIN_ROWS
    batch_size: int | None = None
    concurrency: int | None = None
    transport: Transport = "grpc"
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = DEFAULT_CONNECTION

    @property
    def rows_name(self) -> str:
        """The name of the rows for reports."""
        return self.file or SAMPLES

    def check(self) -> None:
        """Raise InvalidInput for values that are wrong for any model, and NotFound if there is no such file."""
        if (self.target is None) != (self.task is None):
            given, missing = ("--target", "--task TASK") if self.target else ("--task", "--target COLUMN")
            raise InvalidInput(f"{given} needs {missing}", hint=f"--target COLUMN --task {', '.join(TASKS)}")
        if self.task is not None and self.task not in TASKS:
            raise InvalidInput(f"there is no task {self.task!r}", hint=f"--task {', '.join(TASKS)}")
        if self.file is None and (self.target or self.slices):
            raise InvalidInput(
                f"{'--target' if self.target else '--slice'} names a column of a file", hint="add --file FILE"
            )
        if self.format is not None and self.format not in FORMATS:
            raise InvalidInput(f"there is no format {self.format!r}", hint=f"--format: {', '.join(FORMATS)}")
        if self.file is not None:
            check_exists(self.file)


def run(
    a: str,
    b: str,
    request: ComparisonRequest,
    *,
    show_step: Callable[[str], None] = lambda _step: None,
    show_rows: Callable[[int, float | None], None] | None = None,
    note: Callable[[str], None] = lambda _text: None,
) -> Comparison:
    """Compare two versions, named as `sides` describes.

    `show_step`, `show_rows` and `note` receive progress and notes. Raises InvalidInput, NotFound, and what the clients,
    the servers and reading the rows raise.
    """
    check_side(a)
    check_side(b)
    request.check()
    options = comparing.ComparisonOptions(
        Tolerance(request.atol, request.rtol),
        slices=tuple(tuple(one.split(",")) for one in request.slices),
        gates=tuple(map(parse_gate, request.fail_if)),
        min_rows=request.min_rows,
        batch_size=request.batch_size,
        concurrency=request.concurrency,
    )
    check_gate_columns(options.gates, options.slices)
    access = Access(request.transport, request.timeout_s, request.connection)
    with ExitStack() as stack:
        show_step(f"opening {a}")
        side_a = stack.enter_context(open_side(a, "a", access))
        show_step(f"opening {b}")
        side_b = stack.enter_context(open_side(b, "b", access))
        signature = comparing.common_signature(side_a, side_b, request.signature)
        scoring = _scoring(request, signature)
        batches = _batches(request, signature, (side_a, side_b), stack, note)
        return comparing.compare(side_a, side_b, signature, batches, options, scoring=scoring, show=show_rows)


def _scoring(request: ComparisonRequest, signature: Signature) -> Scoring | None:
    """The task, with the output to score. Raises InvalidInput if there are several and none was chosen."""
    if request.task is None or request.target is None:
        return None
    task = next(one for one in TASKS if one == request.task)
    names = [spec.name for spec in signature.outputs]
    if request.score is None and len(names) > 1:
        raise InvalidInput(f"several outputs can be scored: {', '.join(names)}", hint=f"--score {names[0]}")
    if request.score is not None and request.score not in names:
        raise InvalidInput(f"there is no output {request.score!r}", hint=f"--score {names[0]}")
    classes = {name: number for number, name in enumerate(request.labels)}
    return Scoring(task, request.target, request.score or names[0], classes)


def _batches(
    request: ComparisonRequest,
    signature: Signature,
    sides: Sequence[Side],
    stack: ExitStack,
    note: Callable[[str], None],
) -> Iterator[RowBatch]:
    """The rows of the file, or the samples of a manifest."""
    chosen: Format | None = next((one for one in FORMATS if one == request.format), None)
    location = request.file
    if location is None:
        rows = next(filter(None, (_samples(side.directory, signature.name) for side in sides)), None)
        if rows is None:
            raise InvalidInput(
                "there are no rows to compare: no --file, and no samples in a manifest",
                hint="add --file FILE, in any format that `predict --file` reads",
            )
        file = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8"))  # noqa: SIM115 - on the stack
        file.writelines(json.dumps(row) + "\n" for row in rows)
        file.flush()
        location, chosen = file.name, "jsonl"
    kept = [name for one in request.slices for name in one.split(",")] + ([request.target] if request.target else [])
    source = open_source(location, signature, format=chosen, note=note)
    keep = KeptColumns(tuple(dict.fromkeys(kept)), option="")
    return shape_rows(source, signature, renamed=request.columns, keep=keep, note=note)


def _samples(directory: Path | None, signature: str) -> list[object] | None:
    """The sample rows of a signature in the manifest of a version; None if there are none."""
    if directory is None:
        return None
    try:
        rows = read_manifest(directory)["signatures"][signature]["samples"]
    except (KeyError, TypeError):
        return None
    return rows if isinstance(rows, list) and rows else None
