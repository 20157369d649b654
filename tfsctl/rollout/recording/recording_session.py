"""Finds the model to record, and records its requests during a block. `tfsctl record` and `tfsctl.record` use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfsctl.engines.registry import records, server_choice
from tfsctl.engines.registry.server_choice import grpc_tls
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.recording.proxied_model import ProxiedModel
from tfsctl.rollout.recording.recorded_model import IndexReader, RecordedModel, check_rules, file_prefix, only_model
from tfsctl.rollout.recording.upstream import Upstream, parse_address, upstream_at
from tfsctl.serving_config.request_logging import RequestLogging

_PRIVATE = 0o700
AnyRecordedModel = RecordedModel | ProxiedModel


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """A recording in progress: its settings, the names of the recorded inputs, and the reader of its index."""

    logging: RequestLogging
    inputs: tuple[str, ...]
    reader: IndexReader


def find_recorded(
    server: str | None,
    model: str | None,
    *,
    listen: str | None = None,
    url: str | None = None,
    grpc_address: str | None = None,
) -> AnyRecordedModel:
    """The model to record: on a server that tfsctl started, or of any server, through a proxy that listens on `listen`.

    Raises InvalidInput, NotFound and EngineError.
    """
    if listen is None:
        if url is not None or grpc_address is not None:
            raise InvalidInput("--url and --grpc-address need a port for the proxy", hint="--listen 8601")
        return RecordedModel(_recorded_server(server, model), model)
    address = parse_address(listen, "--listen")
    if url is None and grpc_address is None:
        record = _recorded_server(server, model)
        return ProxiedModel(_upstream(record), model or only_model(record), address)
    if server is not None:
        raise InvalidInput(
            f"{server} and the address of another server contradict each other", hint="remove one of them"
        )
    if model is None:
        raise InvalidInput("the model at that address is not named", hint="--model NAME")
    return ProxiedModel(upstream_at(url, grpc_address), model, address)


def _recorded_server(name: str | None, model: str | None) -> ServerRecord:
    """The running server of a name. Raises NotFound, whose hint names the server if the name is that of its model."""
    running = records.running()
    try:
        return server_choice.choose_server(running, model=model, name=name)
    except NotFound as error:
        host = next((one.name for one in running if name in one.models), None)
        if model is None and host is not None and host != name:
            error.hint = f"tfsctl record {host} --model {name}"
        raise


def _upstream(record: ServerRecord) -> Upstream:
    url = record.url if record.rest_port else None
    address = record.grpc_address if record.grpc_port else None
    return Upstream(record.name, url, address, grpc_tls(record, None))


@contextmanager
def recording(
    recorded: AnyRecordedModel,
    folder: Path,
    *,
    sample: float = 1.0,
    max_size: int = 1 << 30,
    drop: Sequence[str] = (),
    hashed: Sequence[str] = (),
    answers: bool = False,
    note: Callable[[str], None] = lambda _text: None,
) -> Iterator[OpenRecording]:
    """Record while the block lasts; the files are complete after it.

    Raises InvalidInput if the requests are recorded already or the folder cannot be created, NotFound for an unknown input,
    and what the server's calls raise.
    """
    running = recorded.logging
    if running is not None:
        raise InvalidInput(
            f"the requests of {recorded.name} are already being recorded, to {running.filename_prefix}*",
            hint=f"tfsctl record {recorded.server_name} --model {recorded.name} --stop",
        )
    metadata = recorded.metadata()
    for text in check_rules(metadata, drop, hashed):
        note(text)
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot create {folder}: {error.strerror}") from error
    logging = RequestLogging(
        file_prefix(folder, recorded.name),
        sample,
        answers=answers,
        index=True,
        drop=tuple(drop),
        hash=tuple(hashed),
        max_total_bytes=max_size,
    )
    inputs = sorted({spec.name for signature in metadata.signatures.values() for spec in signature.inputs})
    session = OpenRecording(logging, tuple(inputs), IndexReader(folder, recorded.name))
    recorded.configure(logging)
    try:
        yield session
    finally:
        if not recorded.has_ended():
            recorded.configure(None)
