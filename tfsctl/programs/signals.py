"""Handles the signals that ask a program to end, so that it can clean up first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@contextmanager
def _handler_for(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler for these signals. Ignored signals stay ignored, as `nohup` requires.

    Does nothing outside the main thread, where Python does not handle signals.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def raise_on_termination(error: type[BaseException]) -> Iterator[None]:
    """Raise an error on SIGTERM and SIGHUP, as Ctrl-C does, instead of dying without cleaning up."""

    def handler(_number: int, _frame: FrameType | None) -> None:
        raise error

    with _handler_for((signal.SIGTERM, signal.SIGHUP), handler):
        yield


class StopSignals:
    """A context manager that records SIGINT, SIGTERM and SIGHUP instead of dying. `received` is the first of them."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._handling = _handler_for((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._record)

    def __enter__(self) -> Self:
        self._handling.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._handling.__exit__(None, None, None)

    def _record(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = signal.Signals(number)
