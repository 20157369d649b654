"""The request log without a server: its queue, its files, and its rules for inputs."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_for

from tfsctl.core import protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.tfrecord import read_records
from tfsctl.errors import InvalidInput
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.request_log.input_privacy import InputPrivacy
from tfsctl.server.request_log.record_files import RecordFiles
from tfsctl.server.request_log.request_log import RequestLog, SampledRequest, read_clocks
from tfsctl.server.status import Code
from tfsctl.serving_config.model_config import ModelConfig, model_config_text, models_from_proto
from tfsctl.serving_config.request_logging import RequestLogging, set_logging


class Counts(Recorder):
    """A recorder of the statuses of logged requests."""

    def __init__(self) -> None:
        self.by_status: dict[str, int] = {}

    def request_logged(self, model: str, status: str, *, times: int = 1) -> None:
        """Count."""
        assert model == "m"
        self.by_status[status] = self.by_status.get(status, 0) + times


def to_log(entry: SampledRequest) -> protos.PredictionLog:
    """The PredictionLog of a PredictRequest for the signature that the body of the entry names."""
    message = protos.PredictionLog()
    message.predict_log.request.model_spec.signature_name = entry.body.decode()
    return message


def sampled(
    log: RequestLog, body: bytes, *, convert: Callable[[SampledRequest], protos.PredictionLog] = to_log
) -> SampledRequest:
    """A request of model `m` whose record is a PredictRequest for the signature `body`."""
    return SampledRequest(log, convert, "Predict", "grpc", "m", 1, None, body, *read_clocks())


def signatures(folder: Path) -> list[str]:
    """The signature of every record that `sampled` made, over all files."""
    files = sorted(folder.glob("*.tfrecord"))
    logs = [protos.PredictionLog.FromString(record) for file in files for record in read_records(file)]
    return [log.predict_log.request.model_spec.signature_name for log in logs]


def test_a_full_queue_drops_and_never_blocks(tmp_path: Path) -> None:
    """While the thread of the log is blocked, requests beyond the limit are dropped and counted."""
    held, go_on, counts = threading.Event(), threading.Event(), Counts()
    config = RequestLogging(str(tmp_path / "r"), 1.0, index=True)
    log = RequestLog("m", config, counts, max_queued_bytes=20_000)

    def hold(_entry: SampledRequest) -> protos.PredictionLog:
        held.set()
        go_on.wait(60)
        return protos.PredictionLog()

    sampled(log, b"first", convert=hold).finish(Code.OK)
    assert held.wait(60)
    for number in range(100):
        sampled(log, b"%d" % number).finish(Code.OK)
    go_on.set()
    log.close()
    log.wait_until_closed(60)

    written = counts.by_status["OK"]
    assert counts.by_status == {"OK": written, "RESOURCE_EXHAUSTED": 101 - written}
    assert 10 <= written <= 20
    assert signatures(tmp_path)[1:] == [str(number) for number in range(written - 1)]
    lines = [json.loads(line) for line in next(tmp_path.glob("*.jsonl")).read_text().splitlines()]
    assert sum(line.get("dropped", 0) for line in lines) == 101 - written


def test_failed_requests_are_in_the_index_only(tmp_path: Path) -> None:
    """So the records are a valid warmup file."""
    log = RequestLog("m", RequestLogging(str(tmp_path / "r"), 1.0, index=True), Recorder(), max_queued_bytes=1 << 20)
    sampled(log, b"a").finish(Code.OK)
    sampled(log, b"b").finish(Code.INVALID_ARGUMENT)
    sampled(log, b"c").finish(Code.OK)
    log.close()
    log.wait_until_closed(60)

    (index,) = tmp_path.glob("*.jsonl")
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    assert signatures(tmp_path) == ["a", "c"]
    assert [(line["code"], line.get("record")) for line in lines] == [
        ("OK", 0),
        ("INVALID_ARGUMENT", None),
        ("OK", 1),
    ]
    assert lines[0].keys() == {"time", "api", "protocol", "model", "version", "code", "latency_ms", "file", "record"}


def test_entries_that_cannot_be_converted_are_counted(tmp_path: Path) -> None:
    """And the log continues."""
    counts = Counts()
    log = RequestLog("m", RequestLogging(str(tmp_path / "r"), 1.0), counts, max_queued_bytes=1 << 20)

    def fail(_entry: SampledRequest) -> protos.PredictionLog:
        raise InvalidInput("no")

    sampled(log, b"a", convert=fail).finish(Code.OK)
    sampled(log, b"b").finish(Code.OK)
    log.close()
    log.wait_until_closed(60)

    assert (signatures(tmp_path), counts.by_status) == (["b"], {"INTERNAL": 1, "OK": 1})


def test_the_log_ends_at_max_total_bytes(tmp_path: Path) -> None:
    """No request is sampled after that."""
    config = RequestLogging(str(tmp_path / "r"), 1.0, max_total_bytes=100)
    log = RequestLog("m", config, Recorder(), max_queued_bytes=1 << 20)
    assert log.is_sampled()
    sampled(log, b"x" * 200).finish(Code.OK)
    wait_for(lambda: list(tmp_path.glob("*.tfrecord")))
    wait_for(lambda: not _sampled_again(log))
    log.close()
    log.wait_until_closed(60)
    assert all(name in ("x" * 200, "y") for name in signatures(tmp_path))


def _sampled_again(log: RequestLog) -> bool:
    sampled(log, b"y").finish(Code.OK)
    return log.is_sampled()


def test_files_are_rotated_private_and_never_overwritten(tmp_path: Path) -> None:
    """Each file has mode 0600, and holds whole records."""
    folder = tmp_path / "log"
    folder.mkdir()
    config = RequestLogging(str(folder / "r"), 1.0, max_file_bytes=50)
    for content in (b"a", b"b"):
        files = RecordFiles(config)
        for _ in range(3):
            files.append([(content * 40, {})])
        files.close()

    found = sorted(folder.iterdir())
    assert [list(read_records(file)) for file in found if file.suffix == ".tfrecord"].count([b"a" * 40]) == 3
    assert len(found) == 6
    assert {stat.S_IMODE(file.stat().st_mode) for file in found} == {0o600}


def test_a_failed_write_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that was written in part, because the disk is full, is removed again."""
    files, write = RecordFiles(RequestLogging(str(tmp_path / "r"), 1.0)), os.write
    files.append([(b"a", {})])
    calls: list[int] = []

    def full(descriptor: int, data: bytes) -> int:
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:5])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        files.append([(b"b" * 100, {})])
    monkeypatch.undo()
    files.append([(b"c", {})])
    files.close()

    (file,) = tmp_path.glob("r-*")
    assert list(read_records(file)) == [b"a", b"c"]


def test_inputs_are_dropped_and_hashed() -> None:
    """Equal values have equal hashes in one log, and different ones in the next.

    Floats cannot be hashed: they are dropped.
    """

    def entry() -> protos.PredictionLog:
        log = protos.PredictionLog()
        for name, array in {
            "user": object_array([b"ann", b"bob", b"ann"]),
            "age": np.array([7, 8, 7], np.int32),
            "score": np.array([1.0], np.float32),
            "secret": np.array([1.0], np.float32),
            "kept": np.array([2.0], np.float32),
        }.items():
            log.predict_log.request.inputs[name].CopyFrom(tensors.to_proto(array))
        return log

    seen = []
    privacy = InputPrivacy(["secret", "missing"], ["user", "age", "score", "missing"])
    for rules in (privacy, privacy, InputPrivacy([], ["user", "age"])):
        log = entry()
        rules.apply(log)
        inputs = {name: tensors.from_proto(proto) for name, proto in log.predict_log.request.inputs.items()}
        seen.append(inputs)
    first, again, other = seen
    assert first.keys() == {"user", "age", "kept"}
    assert first["user"][0] == first["user"][2] != first["user"][1]
    assert first["age"][0] == first["age"][2] != first["age"][1]
    assert first["age"].dtype == np.int32
    assert b"ann" not in first["user"].tolist()
    assert first["user"].tolist() == again["user"].tolist() != other["user"].tolist()


def test_features_of_examples_are_dropped_and_hashed() -> None:
    """Also those of the context."""
    log = protos.PredictionLog()
    listed = log.classify_log.request.input.example_list_with_context
    for example in (listed.context, listed.examples.add()):
        example.features.feature["user"].bytes_list.value.append(b"ann")
        example.features.feature["secret"].float_list.value.append(1)
        example.features.feature["id"].int64_list.value.append(5)

    InputPrivacy(["secret"], ["user", "id"]).apply(log)

    for example in (listed.context, listed.examples[0]):
        feature = example.features.feature
        assert set(feature) == {"user", "id"}
        assert feature["user"].bytes_list.value[0] not in (b"ann", b"")
        assert feature["id"].int64_list.value[0] != 5


def test_logging_config_round_trips() -> None:
    """Settings that TensorFlow Serving's messages lack are a Struct in custom_logging_config."""
    logging = RequestLogging("/logs/r", 0.25, answers=False, index=True, drop=("a",), hash=("b",), max_total_bytes=9)
    model = ModelConfig("m", "/m", logging=logging)
    message = protos.ModelServerConfig()
    from google.protobuf import text_format

    text_format.Parse(model_config_text([model]), message)
    entry = message.model_config_list.config[0]

    assert models_from_proto(message) == (model,)
    assert entry.logging_config.sampling_config.sampling_rate == 0.25
    assert entry.logging_config.log_collector_config.filename_prefix == "/logs/r"
    set_logging(entry, None)
    assert not entry.HasField("logging_config")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("", "needs an absolute path as log_collector_config.filename_prefix; got ''"),
        ('log_collector_config { filename_prefix: "logs/r" }', "needs an absolute path"),
        ('log_collector_config { filename_prefix: "/r" type: "kafka" }', "type 'kafka'; only 'tfrecord' is supported"),
        (
            'log_collector_config { filename_prefix: "/r" } sampling_config { sampling_rate: 10 }',
            "has sampling_rate 10; it goes from 0 to 1",
        ),
        (
            'log_collector_config { filename_prefix: "/r" } custom_logging_config { '
            '[type.googleapis.com/google.protobuf.Struct] { fields { key: "dorp" value { bool_value: true } } } }',
            "has dorp: True in its custom_logging_config, which is not supported",
        ),
    ],
)
def test_invalid_logging_configs_are_refused(config: str, words: str) -> None:
    """The error names the model and the field."""
    from google.protobuf import struct_pb2, text_format  # noqa: F401 - the text has a Struct

    text = f'config {{ name: "m" base_path: "/m" model_platform: "tensorflow" logging_config {{ {config} }} }}'
    message = text_format.Parse(f"model_config_list {{ {text} }}", protos.ModelServerConfig())
    with pytest.raises(InvalidInput, match="The logging_config of model m") as raised:
        models_from_proto(message)
    assert words in raised.value.message
