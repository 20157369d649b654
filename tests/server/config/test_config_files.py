"""Configuration files in protobuf's text form, and the log lines about invalid ones."""

from __future__ import annotations

import os
import re
from pathlib import Path
from threading import Thread

import pytest
from text_protos import nested_struct

from tfsctl.core import protos
from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.status import Code, ServingError
from tfsctl.serving_config import messages


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"improper { }", '1:1: Message type "tensorflow.serving.ModelServerConfig" has no field named "improper".'),
        (b"model_config_list {\n  config { nope: 1 } }", "2:12: Message type"),
        (b"model_config_list {\n  config {", "2:10: "),
        (b"model_config_list { }\n \xff", "2:2: this is not UTF-8"),
        (b"\xef\xbb\xbfmodel_config_list { }", "the file begins with a byte order mark: save it as UTF-8 without BOM"),
        (b'{"model_config_list": {}}', "this is JSON: the file must be a text protobuf"),
        (nested_struct(2000).encode(), "its messages are nested too deep"),
    ],
)
def test_the_log_has_the_error_and_its_position(
    content: bytes, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In the real server's form, with a byte order mark made visible."""
    file = tmp_path / "models.config"
    file.write_bytes(content)

    with pytest.raises(ServingError, match="Invalid protobuf file") as refused:
        read_config_file(file, protos.ModelServerConfig())

    assert refused.value.code is Code.INVALID_ARGUMENT
    (line,) = caplog.messages
    assert line.startswith("Error parsing text-format tensorflow.serving.ModelServerConfig: ")
    assert reason in line
    assert line.endswith(f" ({file})")
    assert "\ufeff" not in line


def test_the_log_names_the_message_type(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each flag's file has its own message type."""
    (tmp_path / "file").write_text("nope: 1")
    for message in (messages.BatchingParameters(), messages.MonitoringConfig(), messages.SSLConfig()):
        with pytest.raises(ServingError):
            read_config_file(tmp_path / "file", message)
        assert f"Error parsing text-format {message.DESCRIPTOR.full_name}: 1:1: " in caplog.messages[-1]


def read_calls() -> int:
    """How many times this thread has called read() so far (proc_pid_io(5))."""
    counts = re.search(r"^syscr: (\d+)$", Path("/proc/thread-self/io").read_text(), re.MULTILINE)
    assert counts is not None
    return int(counts[1])


@pytest.mark.skipif(not os.access("/proc/thread-self/io", os.R_OK), reason="the kernel does not count reads")
def test_a_file_is_read_at_once(tmp_path: Path) -> None:
    """A second read could find the end of another content: the file may be rewritten in place."""
    file = tmp_path / "models.config"
    file.write_text('model_config_list { config { name: "m" base_path: "/m" } }' + "\n" * 100_000)
    read_config_file(file, protos.ModelServerConfig())  # imports modules
    first, before = read_calls(), read_calls()
    own = before - first

    message = read_config_file(file, protos.ModelServerConfig())

    assert read_calls() - before - own == 1
    assert message.model_config_list.config[0].name == "m"


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    """As a shell's process substitution is one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            for part in (b"model_config_list {", b"\n" * 100_000, b"}"):
                file.write(part)

    writer = Thread(target=write)
    writer.start()
    message = read_config_file(pipe, protos.ModelServerConfig())
    writer.join()

    assert message.HasField("model_config_list")
