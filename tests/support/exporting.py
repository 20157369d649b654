"""Exports for tests: by one process that keeps TensorFlow loaded, some tenths of a second each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, BinaryIO

import forked_sessions
from fork_servers import ForkServer, fork_server
from model_servers import clean_environment

from tfsctl.core.saved_model import read_saved_model

# What exports, and the programs of the official gRPC client, import.
PRELOADED = ("tensorflow", "keras", "tensorflow_serving.apis.prediction_service_pb2_grpc", "tfsctl.cli")


@dataclass(frozen=True)
class Exported:
    """What one `tfsctl export` printed, and the folder it ran in."""

    stdout: str
    stderr: str
    code: int
    folder: Path

    @property
    def document(self) -> dict[str, Any]:
        """The answer of an export with --json."""
        assert self.code == 0, self.stderr
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def path(self) -> Path:
        """The version that an export with --json wrote."""
        return self.folder / self.document["path"]

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Names of the inputs and outputs of serving_default, as saved_model.pb has them."""
        signature = read_saved_model(self.path).signatures["serving_default"]
        return [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]

    @property
    def last_words(self) -> list[str]:
        """The lines on stderr that are no progress."""
        return [line for line in self.stderr.splitlines() if not line.endswith("…")]


@dataclass(frozen=True)
class Exporter:
    """The pipes of a running exporter_process.py."""

    requests: BinaryIO
    answers: BinaryIO

    def run(self, argv: list[str], cwd: Path) -> dict[str, Any]:
        """Run one command line; its code, stdout and stderr."""
        self.requests.write(json.dumps({"argv": argv, "cwd": str(cwd)}).encode() + b"\n")
        self.requests.flush()
        answer: dict[str, Any] = json.loads(self.answers.readline())
        return answer


@dataclass(frozen=True)
class Export:
    """`export("import keras; model = …", "--json")`: write a Python file and export it, in a folder of the test's own."""

    exporter: Exporter
    folder: Path

    def __call__(self, code: str, *options: object, file: str = "net.py") -> Exported:
        """Export a Python file with this text; `file` may be `name.py:attribute`."""
        (self.folder / file.partition(":")[0]).write_text(dedent(code), encoding="utf-8")
        return self.source(file, *options)

    def source(self, source: object, *options: object) -> Exported:
        """Export something that is there; relative paths start at the folder."""
        return self.command("export", source, *options)

    def command(self, *argv: object) -> Exported:
        """Run a whole command line."""
        return Exported(**self.exporter.run([*map(str, argv)], self.folder), folder=self.folder)


def with_own_tmpdir(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep temporary files below HOME: AutoGraph leaves Python files there if its process is killed."""
    folder = Path(environment["HOME"], "tmp")
    folder.mkdir(exist_ok=True)
    return {**environment, "TMPDIR": str(folder)}


@contextmanager
def tensorflow_fork_server(folder: Path, sessions: Path) -> Iterator[ForkServer]:
    """Connect to the fork server with TensorFlow loaded while the block lasts.

    Exports check their versions in forks of the one in the folder `sessions`, which must be running.
    """
    environment = {**clean_environment(folder), forked_sessions.SERVER: str(sessions)}
    with fork_server(folder, *PRELOADED, "forked_sessions:install", environment=environment) as server:
        yield server


@contextmanager
def running_exporter(server: ForkServer, environment: Mapping[str, str]) -> Iterator[Exporter]:
    """Run exporter_process.py while the block lasts."""
    process, requests, answers = server.start_piped(
        "exporter_process:run_all", environment=with_own_tmpdir(environment)
    )
    with answers:
        with requests:
            yield Exporter(requests, answers)
        code = process.wait()
        assert code == 0, code
