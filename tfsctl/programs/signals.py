"""The signals that ask a program to end: noted or raised meanwhile, so that what is under way ends in good order."""

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
def _handled(numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a function called where signals come, but for those that are ignored, as nohup wants it.

    Outside the main thread, where Python handles no signals, nothing changes.
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
def raising(error: type[BaseException]) -> Iterator[None]:
    """Raise an error where SIGTERM or SIGHUP comes, as Ctrl-C does, instead of dying with everything left as it is."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise error

    with _handled((signal.SIGTERM, signal.SIGHUP), end):
        yield


class StopSignals:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying of them, while entered; `came` is the first one."""

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self._noting = _handled((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._note)

    def __enter__(self) -> Self:
        self._noting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._noting.__exit__(None, None, None)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.came is None:
            self.came = signal.Signals(number)
