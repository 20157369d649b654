"""Recorded command lines of TensorFlow Serving: the exit code, the open ports and stdout are the same."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from model_servers import STOP_S, ServerProcess, clean_environment, start_server
from ports import HOST, free_ports, listening
from recorded_cases import MODELS, StartCase, start_cases
from recorded_servers import write_configuration
from waiting import wait_for

pytestmark = pytest.mark.server

CASES = start_cases()
GRPC, REST, TAKEN = "18600", "18601", "2024"  # the ports of the recorded command lines; TAKEN had its listener
WAITS = re.compile("Could not find base path|No versions of servable")  # logged again with each poll of the model
_MODEL = 'config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }}'

# The configuration files the recorded command lines name under {CONF}/bad.
BAD = {
    "b1": "max_batch_size: 4",
    "b2": "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
    "c1": 'model_config_list { config { nam: "a" } }',
    "c2": "",
    "c3": "model_config_list { }",
    "c4": "model_config_list {" + 2 * _MODEL.format("a", "{MODELS}/zoo") + "}",
    "c5": 'model_config_list { config { name: "a" base_path: "{MODELS}/zoo" model_platform: "caffe" } }',
    "c6": 'model_config_list { config { name: "a" base_path: "{MODELS}/zoo" } }',
    "c7": "model_config_list {" + _MODEL.format("h", "{MODELS}/half_plus_two") + _MODEL.format("x", "/nope/x") + "}",
    "c8": "model_config_list {"
    + _MODEL.format("h", "{MODELS}/half_plus_two")
    + _MODEL.format("broken", "{MODELS}/broken")
    + "}",
    "c9": "model_config_list {" + _MODEL.format("h", "{MODELS}/half_plus_two") + "}",
    "m1": "nope: 1",
}


@dataclass(frozen=True)
class Outcome:
    """The result of a command line; `exit_code` is None if the server still runs."""

    exit_code: int | None
    open_ports: frozenset[str]
    stdout: str
    stderr: str


class Starter:
    """Runs command lines, each with ports of its own in place of the recorded ones."""

    def __init__(self, folder: Path, taken: int) -> None:
        self._folder = folder
        self._taken = taken

    def run(self, case: StartCase) -> Outcome:
        """Start the server and wait until it has ended, has opened its ports, or has waited for its model a while."""
        grpc_port, rest_port, default_port = free_ports(3)
        ports = {GRPC: grpc_port, REST: rest_port, TAKEN: self._taken}
        flags = [self._filled(argument, ports) for argument in case.arguments]
        if not any(flag.startswith("--port=") for flag in flags):
            flags.append(f"--port={default_port}")
        stdout, stderr = (self._folder / f"{grpc_port}.{name}" for name in ("stdout", "stderr"))
        with stdout.open("wb") as output, stderr.open("wb") as errors:
            process = start_server([*flags, f"--host={HOST}"], clean_environment(self._folder), output, errors)

        open_ports: frozenset[str] = frozenset()

        def is_settled() -> bool:
            nonlocal open_ports
            if process.poll() is not None:
                return True
            if case.exit_code is not None:
                return False
            open_ports = _open(process, case, ports)
            if case.open_ports:
                return open_ports == case.open_ports
            return bool(listening(process.pid, [default_port])) or len(WAITS.findall(stderr.read_text())) > 1

        try:
            wait_for(is_settled)
            exit_code = process.poll()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)
        return Outcome(
            exit_code, open_ports, stdout.read_text().replace(str(self._folder), "{CONF}"), stderr.read_text()
        )

    def _filled(self, argument: str, ports: dict[str, int]) -> str:
        argument = argument.replace("{MODELS}", str(MODELS)).replace("{CONF}", str(self._folder))
        return re.sub(r"(?<=port=)\d+", lambda port: str(ports.get(port.group(), 0)), argument)


def _open(process: ServerProcess, case: StartCase, ports: dict[str, int]) -> frozenset[str]:
    """The recorded ports that the process listens on."""
    recorded = case.open_ports | case.closed_ports
    own = listening(process.pid, [ports[port] for port in recorded])
    return frozenset(port for port in recorded if ports[port] in own)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Runs command lines; their configuration files exist, and the port TAKEN has a listener."""
    folder = tmp_path_factory.mktemp("startup")
    write_configuration(folder)
    (folder / "bad").mkdir()
    for name, text in BAD.items():
        (folder / "bad" / name).write_text(text.replace("{MODELS}", str(MODELS)))
    with socket.create_server((HOST, 0)) as listener:
        yield Starter(folder, listener.getsockname()[1])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_command_line_ends_or_serves_as_recorded(case: StartCase, starter: Starter) -> None:
    """The exit code, the open ports and the lines of stdout are the recorded ones."""
    outcome = starter.run(case)

    assert (outcome.exit_code, outcome.open_ports) == (case.exit_code, case.open_ports), outcome.stderr
    assert _lines(outcome.stdout) == _lines(case.stdout)
    assert _flags(outcome.stdout) >= _flags(case.stdout)


def _lines(stdout: str) -> list[str]:
    """The lines that are not usage; versions are cut off."""
    lines = [line for line in stdout.splitlines() if not line.startswith("\t")]
    return [re.sub(r"^(TensorFlow (?:ModelServer|Library)): .*", r"\1", line) for line in lines]


def _flags(stdout: str) -> set[str]:
    """The names of the flags in a usage text."""
    return set(re.findall(r"^\t--(\w+)=", stdout, re.MULTILINE))
