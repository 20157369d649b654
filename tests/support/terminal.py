"""A real terminal (a pty) with a program in it: type, and read what the screen got."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from waiting import PATIENCE_S

if TYPE_CHECKING:
    from typing_extensions import Self

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]|[\r\x08]")
_WHERE_IS_THE_CURSOR = b"\x1b[6n"
_AT_THE_TOP = b"\x1b[1;1R"
# The program must own the terminal, or Ctrl-C would reach nobody.
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)

ENTER, TAB, CTRL_C, CTRL_D, UP = "\r", "\t", "\x03", "\x04", "\x1b[A"


class Terminal:
    """One program in a terminal of 100 columns; a context manager that ends it."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _OWN_TERMINAL, *argv],
            env={**environment, "TERM": "xterm"},
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )
        os.close(inside)
        self._text = ""
        self._seen = 0

    def press(self, keys: str) -> None:
        """Press keys, ENTER, CTRL_C, CTRL_D, UP and TAB among them."""
        os.write(self._screen, keys.encode())

    def expect(self, text: str) -> str:
        """Wait until `text` appears after what was expected before; returns all that came up to its end."""
        deadline = time.monotonic() + PATIENCE_S
        while (at := self._text.find(text, self._seen)) < 0:
            goes_on = self._read() and time.monotonic() < deadline
            assert goes_on, f"no {text!r} in {self._text[self._seen :]!r}"
        came = self._text[self._seen : at + len(text)]
        self._seen = at + len(text)
        return came

    def wait(self) -> int:
        """Wait for the program to end; returns its exit code."""
        while self._read():
            pass
        return self._process.wait(timeout=PATIENCE_S)

    def _read(self) -> bool:
        """Take in what was written; False once nobody can write any more."""
        if not select.select([self._screen], [], [], 0.2)[0]:
            return True
        try:
            raw = os.read(self._screen, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        if _WHERE_IS_THE_CURSOR in raw:
            os.write(self._screen, _AT_THE_TOP)
        self._text += _CONTROL.sub("", raw.decode("utf-8", "replace"))
        return bool(raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._screen)
