"""The ```console blocks of a page: run in the order printed, in one shell on a terminal, and compared with what is printed.

A comment directly before a block changes how it is treated:

    <!-- console: docker -->              it needs Docker: only the Docker tests run it
    <!-- console: not run: REASON -->     it is never run
    <!-- console: setup
    COMMANDS
    -->                                   commands that the page does not show, run at this place; $SAMPLES is a folder
                                          with the exported sample models

In printed output a line `…` stands for any lines, and `…` within a line for any text. Versions, times, sizes, ports and
widths of columns are not compared, and neither are more than five digits of a number with a long fraction: the last
digits that a model computes depend on the CPU. A command without printed output, or only `…`, must end with 0.
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyte
from ports import free_ports

_BLOCK = re.compile(
    r"(?:^ *<!-- console: (?P<note>(?!setup)[^\n]*?) *-->\s*)?^(?P<indent> *)```console\n(?P<body>.*?)^ *```$"
    r"|^ *<!-- console: setup\n(?P<setup>.*?)-->",
    re.MULTILINE | re.DOTALL,
)
_DEFAULT_PORTS = ("8500", "8501")
_PORT = re.compile(r"(?<![\d.])(8[05]\d\d|9090)(?![\d.])")
_LONG_FRACTION = re.compile(r"(?<![\d.])\d+\.\d{6,}(?:e[+-]?\d+)?(?![\d.])")
_END = "\x1e"  # written after each command, with its exit code
_WIDEST = 400  # columns: lines that a program does not wrap stay whole
TIMEOUT_S = 600


@dataclass
class Command:
    """One command line of a page and the output printed below it; `shown` is empty if the page prints none."""

    line: str
    shown: list[str] = field(default_factory=list)
    output: str = ""
    code: int = 0


def commands_of(page: Path, *, with_docker: bool) -> list[Command]:
    """The commands of a page that are run, in order."""
    commands: list[Command] = []
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        note = block["note"] or ""
        if block["setup"] is not None:
            commands.append(Command(block["setup"].strip()))
        elif not note.startswith("not run:") and (with_docker or note != "docker"):
            commands += _parse(block["body"], len(block["indent"]))
    return commands


def _parse(body: str, indent: int) -> list[Command]:
    commands: list[Command] = []
    continued = False
    for line in (line[indent:] for line in body.splitlines()):
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif continued:
            commands[-1].line += "\n" + line
        elif commands:
            commands[-1].shown.append(line)
        continued = line.endswith("\\") and (continued or line.startswith("$ "))
    for command in commands:
        while command.shown and not command.shown[-1].strip():
            command.shown.pop()
    return commands


def run(commands: list[Command], folder: Path, environment: Mapping[str, str], *, printed_ports: bool = False) -> None:
    """Run the commands in one bash on a terminal of 100 columns, and note the output and exit code of each.

    Free ports stand for the printed ones, unless `printed_ports` is set.
    """
    named = sorted({*_DEFAULT_PORTS, *(port for command in commands for port in _PORT.findall(command.line))})
    ports = dict(zip(named, named if printed_ports else map(str, free_ports(len(named))), strict=True))
    script = folder.parent / f"{folder.name}.sh"
    script.write_text("".join(f"{_with_ports(one.line, ports)}\nprintf '{_END}%s{_END}' $?\n" for one in commands))
    places = {"TFSCTL_REST_PORT": ports["8501"], "TFSCTL_GRPC_PORT": ports["8500"], "COLUMNS": "100", "NO_COLOR": "1"}
    screen, inside = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--noprofile", "--norc", script],
        cwd=folder,
        env={**environment, **places, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    try:
        parts = _read(screen).split(_END)
        shell.wait(timeout=TIMEOUT_S)
    finally:
        os.close(screen)
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    assert len(parts) == 2 * len(commands) + 1, parts
    for command, output, code in zip(commands, parts[::2], parts[1::2], strict=False):
        command.output, command.code = _with_ports(_screen(output), {new: old for old, new in ports.items()}), int(code)


def _read(screen: int) -> str:
    """All that is written to the terminal until the last program closes it."""
    raw = b""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        left = deadline - time.monotonic()
        assert left > 0, f"a command does not end: {raw[-2000:].decode('utf-8', 'replace')}"
        if not select.select([screen], [], [], left)[0]:
            continue
        try:
            block = os.read(screen, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not block:
            break
        raw += block
    return raw.decode("utf-8", "replace")


def _screen(written: str) -> str:
    """What a terminal shows after a program wrote this; progress that was erased is gone."""
    screen = pyte.Screen(_WIDEST, max(24, 2 * written.count("\n")))
    pyte.Stream(screen).feed(written)
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


def _with_ports(text: str, ports: Mapping[str, str]) -> str:
    return re.sub(rf"(?<!\d)({'|'.join(ports)})(?!\d)", lambda match: ports[match[0]], text) if ports else text


def normalise(text: str) -> str:
    """A text without what differs from run to run: versions, times, sizes, last digits, and widths of columns."""
    lines = []
    for line in text.splitlines():
        line = re.sub(r"\b1[0-9]{9}\b", "VERSION", line)  # noqa: PLW2901
        line = _LONG_FRACTION.sub(lambda found: f"{float(found[0]):.5g}", line)  # noqa: PLW2901
        line = re.sub(r"\b\d[\d,.]* ?(ms|s|m|min|h|d)(?![\w/])", "DURATION", line)  # noqa: PLW2901
        line = re.sub(r"\b\d[\d,.]* ?(kB|KB|MB|GB)(?![\w/])", "SIZE", line)  # noqa: PLW2901
        line = re.sub(r"\b\d[\d,.]* ?(%|rows/s)(?![\w/])", r"N \1", line)  # noqa: PLW2901
        lines.append(re.sub(r"\s+", " ", re.sub(r"─+", "─", line)).strip())
    return "\n".join(lines).strip()


def difference(command: Command) -> str:
    """What is wrong with the outcome of a command; empty if nothing is."""
    if command.shown in ([], ["…"]):
        return "" if command.code == 0 else f"$ {command.line}\nended with {command.code}:\n{command.output}"
    expected, actual = normalise("\n".join(command.shown)), normalise(command.output)
    pattern = (
        re.escape(expected).replace("…\\\n", "(?:.*\\n)??").replace("\\\n…", "(?:\\n.*)??").replace("…", "[^\\n]*?")
    )
    lines = re.compile(pattern.replace("(?:.*\\n)??", "(?:.*\\n)*?").replace("(?:\\n.*)??", "(?:\\n.*)*?"))
    if lines.fullmatch(actual):
        return ""
    return f"$ {command.line}\nprints\n{actual}\nbut the page shows\n{expected}"
