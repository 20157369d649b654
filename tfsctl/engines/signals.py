"""The signals that ask a program to end: noted or raised meanwhile, so that what is under way ends in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@contextmanager
def raising(error: type[BaseException]) -> Iterator[None]:
    """Raise an error where SIGTERM or SIGHUP comes, as Ctrl-C does, instead of dying with everything left as it is.

    Outside the main thread, where Python handles no signals, nothing is raised.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        raise error

    in_main = threading.current_thread() is threading.main_thread()
    wanted = [one for one in (signal.SIGTERM, signal.SIGHUP) if in_main and signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class StopSignals:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying of them, while entered; `came` is the first one.

    Outside the main thread, where Python handles no signals, nothing is noted.
    """

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.came is None:
            self.came = signal.Signals(number)
