"""A fake `docker` on PATH with scripted answers, for situations that a real one does not produce on demand.

Strict both ways: a call that was not expected fails, and so does the test that expected one which never came. The fake is
a shell script, which starts ten times as fast as Python: a test calls it several times.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

UNEXPECTED = 99
VERSION = ("version", "--format", "{{json .}}")
SECURITY = ("info", "--format", "{{json .SecurityOptions}} {{.MemoryLimit}}")
ENDPOINT = ("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")

# For progress that takes its time.
SLOW_LINES = """import sys, time
*lines, seconds = sys.argv[1:]
for line in lines:
    print(line, file=sys.stderr, flush=True)
    time.sleep(float(seconds))
"""


class FakeDocker:
    """The fake, put into `folder`. Each expectation answers any number of calls, and at least one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._script = folder / "docker.answers"
        self._calls = folder / "docker.calls"
        self._answers: list[tuple[tuple[str, ...], str]] = []  # the words of a call, and what to do then
        self._calls.touch()
        self._script.touch()
        program = folder / "docker"
        program.write_text(
            # It notes each call: how many fields, the number of the expectation (or `none`), and the arguments.
            f"""#!/bin/sh
note() {{ printf '%s\\0' "$#" "$@" >>{shlex.quote(str(self._calls))}; }}
. {shlex.quote(str(self._script))}
note none "$@"
printf 'unexpected: docker %s\\n' "$*" >&2
exit {UNEXPECTED}
""",
            encoding="utf-8",
        )
        program.chmod(0o755)

    def expect(self, *start: str, stdout: str = "", stderr: str = "", code: int = 0, takes_s: float = 0) -> None:
        """Answer calls whose arguments start so; later expectations come first. `stderr` appears over `takes_s`."""
        words = (f'[ "${{{place}}}" = {shlex.quote(word)} ]' for place, word in enumerate(start, 1))
        write_stderr = f"printf %s {shlex.quote(stderr)} >&2"
        if takes_s:
            lines = stderr.splitlines()
            argv = (sys.executable, "-I", "-c", SLOW_LINES, *lines, str(takes_s / len(lines)))
            write_stderr = f"{'' if stdout or code else 'exec '}{shlex.join(argv)}"
        block = f"""if {" && ".join([f'[ "$#" -ge {len(start)} ]', *words])}; then
  note {len(self._answers)} "$@"
  {write_stderr}
  printf %s {shlex.quote(stdout)}
  exit {code}
fi
"""
        self._answers.append((start, block))
        changed = self._script.with_suffix(".changed")
        changed.write_text("".join(block for _, block in reversed(self._answers)), encoding="utf-8")
        os.replace(changed, self._script)  # a call in progress reads on in the old one

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
        called = {number for _, number in answered}
        for number, (start, _) in enumerate(self._answers):
            assert number in called, f"never called: {start}"

    def _answered(self) -> list[tuple[list[str], int | None]]:
        """Every call so far, with the number of the expectation that answered it."""
        fields = self._calls.read_text(encoding="utf-8").split("\0")
        found: list[tuple[list[str], int | None]] = []
        at = 0
        while fields[at] and (end := at + 1 + int(fields[at])) < len(fields):
            number, *call = fields[at + 1 : end]
            found.append((call, None if number == "none" else int(number)))
            at = end
        return found
