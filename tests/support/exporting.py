"""Exports for tests: by one process that keeps TensorFlow loaded, some tenths of a second each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from tfsctl.core.saved_model import read_saved_model

STOP_S = 240.0


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
class Export:
    """`export("import keras; model = …", "--json")`: write a Python file and export it, in a folder of the test's own."""

    process: subprocess.Popen[str]
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
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {"argv": [*map(str, argv)], "cwd": str(self.folder)}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Exported(**json.loads(self.process.stdout.readline()), folder=self.folder)


def with_own_tmpdir(environment: Mapping[str, str]) -> dict[str, str]:
    """Keep temporary files below HOME: AutoGraph leaves Python files there if its process is killed."""
    folder = Path(environment["HOME"], "tmp")
    folder.mkdir(exist_ok=True)
    return {**environment, "TMPDIR": str(folder)}


@contextmanager
def exporter_process(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run exporter_process.py while the block lasts."""
    argv = [sys.executable, str(Path(__file__).with_name("exporter_process.py"))]
    env = with_own_tmpdir(environment)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None
        yield process
        process.stdin.close()
        assert process.wait(timeout=STOP_S) == 0
