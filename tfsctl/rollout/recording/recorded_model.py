"""Records the requests of a model on an embedded server: turns its request log on and off, and counts the requests in it.

The server is changed by a reload of its config. Its record keeps the change, so that other reloads do not undo it. A front
changes both of its servers, and also those that it starts later.
"""

from __future__ import annotations

import difflib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tfsctl.clients.connection import Connection
from tfsctl.clients.grpc import GrpcClient
from tfsctl.core.types import ModelMetadata, ModelRef, TensorSpec
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records
from tfsctl.engines.registry.server_choice import grpc_tls
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.front import operations
from tfsctl.serving_config.model_config import model_config_proto
from tfsctl.serving_config.model_name import valid_name
from tfsctl.serving_config.request_logging import RequestLogging, logging_from_document

_RPC_TIMEOUT_S = 60.0
_CAN_BE_HASHED = ("string", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(slots=True)
class RecordingCounts:
    """The requests in the files of a recording, the failed ones among them, those that were lost, and the size in bytes."""

    requests: int = 0
    failed: int = 0
    dropped: int = 0
    size: int = 0
    files: list[Path] = field(default_factory=list)


class RecordedModel:
    """A model of a server that tfsctl started, whose requests can be recorded."""

    def __init__(self, server: ServerRecord, model: str | None) -> None:
        """Raises InvalidInput for another engine and an ambiguous model, NotFound, EngineError."""
        if server.engine != "embedded":
            raise InvalidInput(
                f"{server.name} runs TensorFlow Serving ({server.engine}), whose public build has no request log",
                hint=f"tfsctl record {server.name} --to DIR --listen 8601",
            )
        if model is not None and model not in server.models:
            raise NotFound(
                f"{server.name} serves no model {model}",
                hint=f"its models are {', '.join(server.models)}: --model NAME",
            )
        self.server, self.name = server, model or only_model(server)
        self._client = GrpcClient(
            server.host,
            server.grpc_port,
            timeout_s=_RPC_TIMEOUT_S,
            connection=Connection(tls=grpc_tls(server, None)),
        )

    @property
    def server_name(self) -> str:
        """The name of its server."""
        return self.server.name

    def has_ended(self) -> bool:
        """Whether its server has ended."""
        return records.has_ended(self.server)

    def metadata(self) -> ModelMetadata:
        """The signatures of the latest version."""
        return self._client.metadata(ModelRef(self.name))

    @property
    def logging(self) -> RequestLogging | None:
        """How its requests are recorded now."""
        if self._spec().front:
            state = operations.read_state(self._front())
            return logging_from_document(state.recordings.get(self.name))
        return next(model.logging for model in self._spec().config.models if model.name == self.name)

    def configure(self, logging: RequestLogging | None) -> None:
        """Begin to record, or end it (None). Returns when the files are complete."""
        spec = self._spec()
        if spec.front:
            operations.set_recording(self._front(), self.name, logging)
            return
        models = tuple(
            replace(model, logging=logging) if model.name == self.name else model for model in spec.config.models
        )
        self._client.reload_config(model_config_proto(models), about=ModelRef(self.name))
        changed = replace(spec, config=replace(spec.config, models=models))
        records.update_launch(self.server, changed.to_document())

    def _front(self) -> TrackedServer:
        return operations.find_front(self.name, server=self.server.name)

    def _spec(self) -> LaunchSpec:
        return LaunchSpec.of_server(self.server_name, records.launch_document(self.server))


def only_model(server: ServerRecord) -> str:
    """The model of a server. Raises InvalidInput if it serves several."""
    if len(server.models) > 1:
        raise InvalidInput(
            f"{server.name} serves several models: {', '.join(server.models)}", hint=f"--model {server.models[0]}"
        )
    return server.models[0]


def check_rules(model: ModelMetadata, drop: Sequence[str], hashed: Sequence[str]) -> list[str]:
    """Check the inputs that are dropped or hashed. Returns notes.

    A name that is no input may be a feature of tf.Examples, if a signature takes those.
    Raises NotFound for an unknown input, InvalidInput for one that has no hash or is dropped as well.
    """
    specs: dict[str, TensorSpec] = {
        spec.name: spec for signature in model.signatures.values() for spec in signature.inputs
    }
    takes_examples = any(
        len(signature.inputs) == 1 and signature.inputs[0].dtype == "string" for signature in model.signatures.values()
    )
    notes = []
    for option, names in (("--drop", drop), ("--hash", hashed)):
        for name in names:
            if name in specs:
                continue
            close = difflib.get_close_matches(name, specs, n=1)
            if close or not takes_examples:
                raise NotFound(
                    f"{model.name} has no input {name!r}",
                    hint=f"{option} {close[0]}" if close else f"its inputs are {', '.join(sorted(specs))}",
                )
            notes.append(f"{name} is not an input of {model.name}; {option} applies to it as a feature of tf.Examples")
    for name in hashed:
        if name in drop:
            raise InvalidInput(f"--drop {name} and --hash {name} cannot be used together")
        if name in specs and specs[name].dtype not in _CAN_BE_HASHED:
            raise InvalidInput(
                f"{name} is {specs[name].dtype}: only text and integers can be hashed", hint=f"--drop {name}"
            )
    return notes


def file_prefix(folder: Path, model: str) -> str:
    """The path with which the paths of all files of a recording begin: the folder, and the name of the model."""
    return str(folder.absolute() / valid_name(model))


class IndexReader:
    """Counts the requests that are added to the index files of a recording after it has begun."""

    def __init__(self, folder: Path, model: str) -> None:
        self._folder, self._pattern = folder, f"{valid_name(model)}-*.jsonl"
        self._earlier = set(folder.glob(self._pattern))
        self._read: dict[Path, int] = {}
        self.counts = RecordingCounts()

    def update(self) -> RecordingCounts:
        """Read the new lines. The last one may still be incomplete."""
        counts = self.counts
        files = sorted(set(self._folder.glob(self._pattern)) - self._earlier)
        for file in files:
            with file.open("rb") as content:
                content.seek(self._read.get(file, 0))
                lines = content.read()
            whole = lines[: lines.rfind(b"\n") + 1]
            self._read[file] = self._read.get(file, 0) + len(whole)
            _count(whole.splitlines(), counts)
        counts.files = [file.with_suffix(".tfrecord") for file in files]
        counts.size = sum(file.stat().st_size for file in counts.files if file.exists())
        return counts


def _count(lines: Iterable[bytes], counts: RecordingCounts) -> None:
    for line in lines:
        try:
            entry = json.loads(line)
            counts.dropped += entry.get("dropped", 0)
            counts.requests += "dropped" not in entry
            counts.failed += "dropped" not in entry and entry["code"] != "OK"
        except (
            RecursionError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
        ):  # a line that the server did not write
            continue


def watch(
    reader: IndexReader,
    *,
    max_size: int,
    duration_s: float | None,
    is_stopped: Callable[[], bool],
    has_ended: Callable[[], bool],
    show: Callable[[RecordingCounts], None],
    interval_s: float = 0.25,
) -> str:
    """Watch a recording until it ends. Returns why: `stopped`, `duration`, `max_size` or `server_ended`."""
    begun_s = time.monotonic()
    while True:
        counts = reader.update()
        show(counts)
        if is_stopped():
            return "stopped"
        if duration_s is not None and time.monotonic() - begun_s >= duration_s:
            return "duration"
        if counts.size >= max_size:
            return "max_size"
        if has_ended():
            return "server_ended"
        time.sleep(interval_s)
