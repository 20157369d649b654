"""`compare`: what `tfsctl compare` does, from Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tfsctl.api.address import tls_and_headers
from tfsctl.api.hints import python_errors
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.core.types import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from tfsctl.rollout.comparison.result import Comparison


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    file: str | os.PathLike[str] | None = None,
    format: str | None = None,  # noqa: A002 - the option's name
    columns: Mapping[str, str] | None = None,
    signature: str = DEFAULT_SIGNATURE,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    target: str | None = None,
    task: Literal["binary", "multiclass", "regression"] | None = None,
    score: str | None = None,
    labels: Sequence[str] = (),
    slices: Sequence[str] = (),
    fail_if: Sequence[str] = (),
    min_rows: int = 30,
    transport: Literal["grpc", "rest"] = "grpc",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    tls_server_name: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Comparison:
    """Send the same rows to two versions, and return how much their predictions differ.

    - `a`, `b`: the directory of a version, `NAME@VERSION`, `NAME@LABEL`, or the URL of a model. A directory is served
      by an embedded server during the comparison.
    - `file`: any file that `predict_many` takes; default: the samples in the manifest of a version.
    - `target`, `task`, `score`: the column with the right answers, the task, and the output to score.
    - `labels`: the names of the classes in order. `columns`: input -> its column in the file.
    - `slices`: columns whose values are reported one by one; `"country,device"` for pairs.
    - `fail_if`: thresholds such as `"agreement<0.98"`. `passed` of the result is False if one of them holds.
    - `ca`, `cert`, `key`, `headers`: as for `connect`, for sides that are servers.

    Raises InvalidInput, NotFound, ServerUnreachable, NotReadyInTime, RequestRejected or EngineError.
    """
    from tfsctl.rollout.comparison.request import ComparisonRequest, run

    request = ComparisonRequest(
        file=None if file is None else os.fspath(file),
        format=format,
        columns=columns or {},
        signature=signature,
        atol=atol,
        rtol=rtol,
        target=target,
        task=task,
        score=score,
        labels=labels,
        slices=slices,
        fail_if=fail_if,
        min_rows=min_rows,
        transport=transport,
        timeout_s=timeout_s,
        connection=tls_and_headers(ca=ca, cert=cert, key=key, tls_server_name=tls_server_name, headers=headers),
    )
    with python_errors():
        return run(os.fspath(a), os.fspath(b), request)
