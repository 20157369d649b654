"""Keeps the process alive if TensorFlow crashes in a run: only the thread in which it crashed is lost.

TensorFlow ends the process on a failed internal check, on an exception that nothing catches (`std::bad_alloc`), and by
an integer division by zero. All of these are signals (SIGABRT, SIGFPE) that are handled in the thread that caused them.
The handler reports the crash and then sleeps for ever: it must not return to the code that cannot go on. What the run
has allocated stays allocated, and the locks that it holds stay locked.

Threads that run requests are watched. One of them crashed if the run is inline (`Session.run`). Otherwise a thread of
TensorFlow's pools did, which does not tell what it worked for: a run that crashed there never ends, so it is the one that
is left once the others have ended. Later runs are in another pool, which has more threads (`Session.uses_last_pool`). So
the first pool may lose all its threads; then all runs that are in it have crashed.

abort() does not hold its lock while it raises SIGABRT (glibc 2.27 to 2.40 release it before; 2.41 takes it after the
signal), so another thread can call it later. TensorFlow, absl and libstdc++ have written their message by then, and hold
no lock of their log.

Not handled: SIGSEGV and the checks of glibc's malloc, because memory may be damaged; crashes while a thread that is not
watched may be concerned, such as the event loop's; threads that hold Python's lock; the last thread of another pool.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock, get_ident, get_native_id
from time import sleep
from types import FrameType

from tfsctl.server.process.libc import libc
from tfsctl.server.process.signal_actions import SignalActions
from tfsctl.server.runtime.session import Session

Report = Callable[[str], object]
"""Called with the name of the signal. It must not wait for anything."""

_RUN = Session._run_tensors.__code__  # noqa: SLF001 - the only code that runs sessions of requests
_CRASHES = (signal.SIGABRT, signal.SIGFPE)
_BETWEEN_OPERATIONS, _WITHIN_OPERATIONS = "tf_Compute", "tf_numa_"  # how the threads of TensorFlow's pools are named
_FIRST_POOL = f"{_BETWEEN_OPERATIONS}0"  # of several
_REPORT_S = 30
_FOREVER_S = 3600.0
_MIN_LEFT = 2  # threads of a pool, the one that crashed included: without any, no run would ever end
_watched: dict[int, Report] = {}
_lost: set[int] = set()
"""Watched threads that never end."""
_lost_of_pools: Counter[str] = Counter()
_lock = Lock()
_pool_crashes: list[str] = []
"""The signals of crashes in pools whose runs are not known yet."""
_suspects: set[int] = set()
"""Watched threads, each of which may wait for such a run."""


def watch(report: Report) -> None:
    """From now on, a crash in a run of a session on this thread calls `report`."""
    _watched[get_ident()] = report


def unwatch() -> bool:
    """End what `watch` began. Returns False if a crash was reported: what this thread did must not count."""
    thread = get_ident()
    is_watched = _watched.pop(thread, None) is not None
    if not is_watched:
        _lost.discard(thread)
    if _suspects:
        with _lock:
            _suspects.discard(thread)
            _report_pool_crashes()
    return is_watched


def has_crashed() -> bool:
    """Whether a run of this process has crashed."""
    return bool(_lost or _pool_crashes)


def install() -> None:
    """Handle crashes from now on. Does nothing where the C library is not glibc."""
    if hasattr(libc(), "__abort_msg"):
        _actions.install()


def _handle(number: int) -> None:
    """Report a crash and never return, or let the signal end the process as if there were no handler."""
    # If the crashed code holds a lock that reporting needs (malloc's), all Python threads would wait for ever.
    signal.alarm(_REPORT_S)
    name = signal.Signals(number).name
    is_reported = not _is_of_libc() and (_crashed_here(name) or _crashed_in_pool(name))
    signal.alarm(0)
    if not is_reported:
        _actions.remove()
        return
    while True:
        sleep(_FOREVER_S)


def _is_of_libc() -> bool:
    """Whether glibc itself found damaged memory or a failed assertion. It keeps a copy of its message for debuggers."""
    return bool(ctypes.c_void_p.in_dll(libc(), "__abort_msg").value)


def _crashed_here(name: str) -> bool:
    """Report a crash if this thread is watched, and TensorFlow runs a session in it."""
    handler = sys._getframe(1)  # noqa: SLF001 - the caller's, to see what the signal has interrupted
    if get_ident() not in _watched or not _is_run(handler.f_back):
        return False
    _lost.add(get_ident())
    _watched.pop(get_ident())(name)
    return True


def _crashed_in_pool(name: str) -> bool:
    """Report a crash if this is a thread of TensorFlow's that works for a watched one. It may be reported later."""
    pool = _pool_of(get_native_id())
    frames = sys._current_frames().items()  # noqa: SLF001 - there is no other way to know what other threads run
    is_between = pool.startswith(_BETWEEN_OPERATIONS)  # where no inline run has anything
    runs = {thread for thread, frame in frames if _is_run(frame) and not (is_between and frame.f_locals["inline"])}
    runs -= _lost
    if not pool or not runs or runs - _watched.keys():
        return False
    with _lock:  # two threads that crash at the same time must not both count the other one
        left = _left_in_pools()
        is_last = left[pool] < _MIN_LEFT
        if is_last and not (pool == _FIRST_POOL and _has_spare_pool(left)):
            return False
        if is_between:
            Session.uses_last_pool = True
        _lost_of_pools[pool] += 1
        _pool_crashes.append(name)
        _suspects.update(runs)
        if is_last:  # none of them ever ends
            _pool_crashes.extend([name] * (len(_suspects) - len(_pool_crashes)))
        _report_pool_crashes()
    return True


def _report_pool_crashes() -> None:
    """Report the crashes in pools once their runs are known: those of all threads that are suspected.

    If one run has crashed in two threads of a pool, or if the first pool has lost its last thread, a run that has not
    crashed may be reported too. It is lost then (`unwatch`).
    """
    if len(_suspects) > len(_pool_crashes):
        return
    for thread in tuple(_suspects):
        report = _watched.pop(thread, None)
        if report is not None:
            _lost.add(thread)
            report(_pool_crashes[-1])
    _suspects.clear()
    _pool_crashes.clear()


def _is_run(frame: FrameType | None) -> bool:
    return frame is not None and frame.f_code is _RUN


def _pool_of(native_thread: int) -> str:
    """The name of the threads of TensorFlow's pool that a thread belongs to; "" for any other thread."""
    try:
        name = Path(f"/proc/self/task/{native_thread}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""  # it has ended
    return name if name.startswith((_BETWEEN_OPERATIONS, _WITHIN_OPERATIONS)) else ""


def _left_in_pools() -> Counter[str]:
    """How many threads of each pool are not lost, this one included."""
    return Counter(_pool_of(int(task.name)) for task in Path("/proc/self/task").iterdir()) - _lost_of_pools


def _has_spare_pool(pools: Iterable[str]) -> bool:
    """Whether there is a pool between operations for runs after a crash."""
    return any(pool.startswith(_BETWEEN_OPERATIONS) and pool != _FIRST_POOL for pool in pools)


_actions = SignalActions(_handle, _CRASHES)
