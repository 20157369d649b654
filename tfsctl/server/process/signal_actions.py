"""Handlers of signals that run in the thread that a signal interrupts, at once: what Python's `signal` cannot do.

Python's own handlers run in the main thread, after native code has returned. A handler for a crash cannot wait for that.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable

from tfsctl.server.process.libc import libc

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_SA_ONSTACK = 0x08000000  # bits/sigaction.h


class _Action(ctypes.Structure):
    """struct sigaction of glibc."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ulong * (128 // ctypes.sizeof(ctypes.c_ulong))),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


class SignalActions:
    """Between `install` and `remove`, `handle` is called with the number of each of these signals."""

    def __init__(self, handle: Callable[[int], None], numbers: Iterable[int]) -> None:
        self._handler = _HANDLER(handle)  # must live as long as it is installed
        self._numbers = tuple(numbers)
        self._previous: dict[int, _Action] = {}
        self._libc = libc()

    @property
    def are_installed(self) -> bool:
        """Whether the signals are handled now."""
        return bool(self._previous)

    def install(self) -> None:
        """Handle the signals from now on, in all threads; on a thread's second stack if it has one."""
        action = _Action(ctypes.cast(self._handler, ctypes.c_void_p).value, flags=_SA_ONSTACK)
        for number in self._numbers:
            self._previous[number] = _Action()
            self._libc.sigaction(number, ctypes.byref(action), ctypes.byref(self._previous[number]))

    def remove(self) -> None:
        """Let the signals do what they did before."""
        while self._previous:
            number, action = self._previous.popitem()
            self._libc.sigaction(number, ctypes.byref(action), None)
