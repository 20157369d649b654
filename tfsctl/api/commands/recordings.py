"""`record`, `replay` and `skew`: recordings of requests from Python."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.api.commands.value_checks import check_sample
from tfsctl.api.hints import python_errors
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelRef

if TYPE_CHECKING:
    from tfsctl.rollout.recording.recorded_model import IndexReader, RecordingCounts
    from tfsctl.rollout.recording.replay import ReplayResult
    from tfsctl.rollout.recording.skew import Skew


class Recording:
    """A recording that is in progress or has ended. `tfsctl.record` returns it."""

    def __init__(self, model: str, folder: Path, reader: IndexReader) -> None:
        self.model, self.folder = model, folder
        self._reader = reader

    def __repr__(self) -> str:
        return f"<tfsctl.Recording {self.model}: {self.counts().requests} requests in {self.folder}>"

    def counts(self) -> RecordingCounts:
        """The counts up to now: `requests`, `failed`, `dropped`, `size` in bytes, and the `files`."""
        return self._reader.update()


@contextmanager
def record(
    server: str | None = None,
    *,
    to: str | os.PathLike[str],
    model: str | None = None,
    sample: float = 1.0,
    max_size: int = 1 << 30,
    drop: Sequence[str] = (),
    hashed: Sequence[str] = (),
    answers: bool = False,
    listen: int | str | None = None,
    url: str | None = None,
    grpc_address: str | None = None,
) -> Iterator[Recording]:
    """Record the requests of a model while the block lasts. The files in the directory `to` are complete after it.

    `sample` is the share of the requests, from 0 to 1, and `max_size` is in bytes. With `listen` (a port, or
    `host:port`), a proxy in front of a server of any engine records, or in front of the server at `url` and
    `grpc_address`. Raises NotFound for an unknown server or input, and InvalidInput if the requests are being recorded already.
    """
    from tfsctl.rollout.recording import recording_session

    with python_errors():
        check_sample(sample)
        recorded = recording_session.find_recorded(
            server, model, listen=None if listen is None else str(listen), url=url, grpc_address=grpc_address
        )
        session = recording_session.recording(
            recorded, Path(to), sample=sample, max_size=max_size, drop=drop, hashed=hashed, answers=answers
        )
        running = session.__enter__()
    try:
        yield Recording(recorded.name, Path(to), running.reader)
    finally:
        session.__exit__(None, None, None)


@python_errors()
def replay(
    recording: str | os.PathLike[str],
    address: str | None = None,
    *,
    model: str | None = None,
    server: str | None = None,
    version: int | None = None,
    label: str | None = None,
    speed: float = 1.0,
    concurrency: int = 64,
) -> ReplayResult:
    """Send the requests of a recording again over gRPC, and return the codes and latencies of the answers.

    `address` is `host:port` (default: the running server that serves the model). `speed` is relative to the recorded
    pace; 0 sends as fast as possible. Raises what `connect` raises, and NotFound or InvalidInput for the recording.
    """
    from tfsctl.clients.grpc import GrpcClient
    from tfsctl.engines.registry import records
    from tfsctl.engines.registry.server_choice import choose_server
    from tfsctl.errors import InvalidInput
    from tfsctl.rollout.recording import replay as replaying

    if address is None:
        chosen = choose_server(records.running(), model=model, name=server)
        address, names = chosen.grpc_address, chosen.models
        model = model or (names[0] if len(names) == 1 else None)
    if model is None:
        raise InvalidInput(f"the model at {address} is not named", hint="model='NAME'")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or len(port) > 5:
        raise InvalidInput(f"{address} is not host:port", hint="address='localhost:8500'")
    ref = ModelRef(model, version, label)
    with GrpcClient(host.strip("[]"), int(port)) as client:
        client.status(ref)  # one clear error if the server or the model is not there
        requests = replaying.paced_requests(Path(recording))
        return replaying.replay(
            requests, lambda log: client.send_recorded(log, ref), speed=speed, concurrency=concurrency
        )


@python_errors()
def skew(
    recording: str | os.PathLike[str],
    training: str | os.PathLike[str],
    *,
    signature: str = DEFAULT_SIGNATURE,
    columns: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    fail_if: Sequence[str] = (),
    min_rows: int = 30,
) -> Skew:
    """Compare the inputs of a recording with a file of training data.

    The result has `inputs`, `passed` and `document()`. The arguments are the options of `tfsctl skew`. Raises NotFound and
    InvalidInput for files that cannot be used.
    """
    from tfsctl.rollout.comparison.gates import parse_gate
    from tfsctl.rollout.recording import skew as measuring

    recorded = measuring.recorded_signature(Path(recording), signature, ignore)
    return measuring.measure(
        Path(recording),
        str(training),
        recorded,
        columns=dict(columns or {}),
        gates=[parse_gate(text) for text in fail_if],
        min_rows=min_rows,
    )
