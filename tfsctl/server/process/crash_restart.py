"""Restarts the server with other flags if loading its only version ends the process (`--check_new_versions=auto`).

TensorFlow ends the process on some errors. While a server starts, nothing is served yet, so starting it again loses
nothing, and costs nothing if no error occurs.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_FATAL = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)


class CrashRestart:
    """Between `install` and `remove`, a fatal signal runs this program again, in this process, with one more argument.

    Python's own signal handlers are of no use here: they run after the native code has returned. A stack overflow
    still ends the process.
    """

    def __init__(self, argument: str) -> None:
        self._command = [*sys.orig_argv, argument]
        self._argument = argument
        self._handler = _HANDLER(self._restart)  # must live as long as it is installed
        self._signal = ctypes.CDLL(None).signal
        self._signal.restype, self._signal.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
        self._previous: dict[int, int | None] = {}

    def install(self) -> None:
        """Handle fatal signals from now on, in all threads."""
        for number in _FATAL:
            self._previous[number] = self._signal(number, ctypes.cast(self._handler, ctypes.c_void_p))

    def remove(self) -> None:
        """Let fatal signals end the process as before."""
        while self._previous:
            self._signal(*self._previous.popitem())

    def _restart(self, number: int) -> None:
        self.remove()
        name = signal.Signals(number).name
        os.write(2, f"E Loading a version ended with {name}. The server starts again with {self._argument}\n".encode())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])  # blocked in its handler, and exec would keep that
        os.execv(sys.executable, self._command)  # noqa: S606 - it needs no shell
