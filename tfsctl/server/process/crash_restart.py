"""Restarts the server with other flags if loading its only version ends the process (`--check_new_versions=auto`).

TensorFlow ends the process on some errors. While a server starts, nothing is served yet, so starting it again loses
nothing, and costs nothing if no error occurs.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys

from tfsctl.server.process.libc import libc
from tfsctl.server.process.signal_actions import SignalActions

_FATAL = (signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV)
_STACK_BYTES = 1024 * 1024


class _Stack(ctypes.Structure):
    """stack_t."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class CrashRestart:
    """Between `install` and `remove`, a fatal signal runs this program again, in this process, with one more argument.

    Python's own signal handlers are of no use here: they run after the native code has returned. A thread that has
    called `protect_thread` may even overflow its stack.
    """

    def __init__(self, argument: str) -> None:
        self._argument = argument
        self._actions = SignalActions(self._restart, _FATAL)
        # All that the handler needs: a thread that has crashed within malloc can allocate no more memory.
        command = [*sys.orig_argv, argument]
        self._command = (ctypes.c_char_p * (len(command) + 1))(*map(os.fsencode, command), None)
        self._program = ctypes.c_char_p(os.fsencode(sys.executable))
        self._messages = {number: self._message(number) for number in _FATAL}
        self._libc = libc()
        self._stacks: list[mmap.mmap] = []

    @property
    def is_installed(self) -> bool:
        """Whether fatal signals are handled now."""
        return self._actions.are_installed

    def install(self) -> None:
        """Handle fatal signals from now on, in all threads."""
        self._actions.install()

    def protect_thread(self) -> None:
        """Give the calling thread a second stack for the handler."""
        memory = mmap.mmap(-1, _STACK_BYTES)
        self._stacks.append(memory)  # the thread keeps its address
        stack = _Stack(ctypes.addressof(ctypes.c_char.from_buffer(memory)), 0, _STACK_BYTES)
        self._libc.sigaltstack(ctypes.byref(stack), None)

    def remove(self) -> None:
        """Let fatal signals end the process as before."""
        self._actions.remove()

    def _message(self, number: signal.Signals) -> bytes:
        return f"E Loading a version ended with {number.name}. The server starts again with {self._argument}\n".encode()

    def _restart(self, number: int) -> None:
        self.remove()
        os.write(2, self._messages[signal.Signals(number)])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])  # blocked in its handler, and exec would keep that
        self._libc.execv(self._program, self._command)
