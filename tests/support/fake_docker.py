"""A fake `docker` on PATH with scripted answers, for situations that a real one does not produce on demand.

Strict both ways: a call that was not expected fails, and so does the test that expected one which never came. Run as a
program it is the fake; imported, `FakeDocker` puts it on PATH and tells it.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

UNEXPECTED = 99
VERSION = ("version", "--format", "{{json .}}")
SECURITY = ("info", "--format", "{{json .SecurityOptions}} {{.MemoryLimit}}")
ENDPOINT = ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")


class FakeDocker:
    """The fake, put into `folder`. Each expectation answers any number of calls, and at least one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._script = folder / "docker.json"
        self._calls = folder / "docker.calls"
        self._answers: list[dict[str, object]] = []
        self._calls.touch()
        self._script.write_text("[]", encoding="utf-8")
        program = folder / "docker"
        program.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I {Path(__file__).resolve()} {self._script} "$@"\n',
            encoding="utf-8",
        )
        program.chmod(0o755)

    def expect(self, *start: str, stdout: str = "", stderr: str = "", code: int = 0, takes_s: float = 0) -> None:
        """Answer calls whose arguments start so; later expectations come first. `stderr` appears over `takes_s`."""
        answer = {"start": start, "stdout": stdout, "stderr": stderr, "code": code, "takes_s": takes_s}
        answer["number"] = len(self._answers)
        self._answers.insert(0, answer)
        self._script.write_text(json.dumps(self._answers), encoding="utf-8")

    def expect_daemon(
        self,
        version: str = "28.2.2",
        *,
        arch: str = "amd64",
        security: str = "[]",
        host: str = "",
        memory: str = "true",
    ) -> None:
        """Have a daemon that answers what tfsctl asks first."""
        self.expect(*VERSION, stdout=json.dumps({"Client": {}, "Server": {"Version": version, "Arch": arch}}))
        self.expect(*SECURITY, stdout=f"{security} {memory}\n")
        self.expect(*ENDPOINT, stdout=host or "unix:///var/run/docker.sock\n")

    def calls(self) -> list[list[str]]:
        """The arguments of every call so far."""
        return [call for call, _ in self._answered()]

    def check(self) -> None:
        """Fail unless every call was expected when it came, and every expectation was called."""
        answered = self._answered()
        for call, number in answered:
            assert number is not None, f"unexpected: docker {shlex.join(call)}"
        for answer in self._answers:
            assert answer["number"] in {number for _, number in answered}, f"never called: {answer['start']}"

    def _answered(self) -> list[tuple[list[str], int | None]]:
        """Every call so far, with the number of the expectation that answered it."""
        return [json.loads(line) for line in self._calls.read_text(encoding="utf-8").splitlines()]


def _answer_to(call: list[str], answers: list[dict[str, object]]) -> dict[str, object] | None:
    for answer in answers:
        start = answer["start"]
        assert isinstance(start, (list, tuple))
        if call[: len(start)] == list(start):
            return answer
    return None


def main() -> int:
    """Be docker."""
    script, *call = sys.argv[1:]
    path = Path(script)
    answer = _answer_to(call, json.loads(path.read_text(encoding="utf-8")))
    with path.with_suffix(".calls").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps([call, answer and answer["number"]]) + "\n")
    if answer is None:
        sys.stderr.write(f"unexpected: docker {shlex.join(call)}\n")
        return UNEXPECTED
    lines = str(answer["stderr"]).splitlines(keepends=True)
    for line in lines:
        sys.stderr.write(line)
        sys.stderr.flush()
        time.sleep(float(str(answer["takes_s"])) / len(lines))
    sys.stdout.write(str(answer["stdout"]))
    return int(str(answer["code"]))


if __name__ == "__main__":
    raise SystemExit(main())
