"""Processes that an earlier command started: recognise them, and stop them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfsctl.errors import EngineError

PARENT_VARIABLE = "TFSCTL_PARENT_PID"  # set by a process that wants a server of ours to end with it
STOP_GRACE_S = 33.0  # the embedded server answers running requests for up to 30 s, then unloads its models
_ENDED_STATES = "ZXx"  # zombie and dead, in /proc/PID/stat
_START_TICKS = 18  # the index of the start time among the fields after the state


def process_identity(pid: int) -> str | None:
    """A text that tells a process from any other with the same pid: the boot id and the start time in clock ticks.

    None if the process has ended, even if its parent has not collected its exit status. The text does not change with
    the system clock, so it can be stored. On Linux, /proc/PID/stat is read (format: proc(5)): importing psutil would take
    5 % of the instructions of `tfsctl predict`.
    """
    if not _has_proc():
        return _identity_by_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name of the program, in parentheses, may hold anything
    return None if state in _ENDED_STATES else f"{_boot_id()} {fields[_START_TICKS]}"


def _identity_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                return None
            since_boot_s = process.create_time() - psutil.boot_time()
    except psutil.Error:
        return None
    return f"{_boot_id()} {round(since_boot_s * os.sysconf('SC_CLK_TCK'))}"


def listening_ports(pid: int) -> set[int]:
    """The TCP ports that a process of this user listens on. Empty if it has ended."""
    import psutil

    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def session_leaders_with(variable: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The id and the environment of each process that leads its session and has the variable in its environment.

    Processes of other users, and those that have ended, are skipped.
    """
    pids = _session_leaders_that_name(variable)
    if not pids:
        return
    import psutil

    for pid in pids:
        try:
            process = psutil.Process(pid)
            environment = process.environ()
            if variable in environment and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                yield pid, environment
        except psutil.Error:  # it has ended, or belongs to another user
            continue


def _session_leaders_that_name(variable: str) -> list[int]:
    """The session leaders whose environment holds this text; not on Linux: all session leaders.

    Importing psutil takes a tenth of `tfsctl ps`, which mostly finds that there is no such process.
    """
    has_proc = _has_proc()
    if has_proc:
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    else:
        import psutil

        pids = psutil.pids()
    found: list[int] = []
    for pid in pids:
        try:
            if os.getsid(pid) == pid and (
                not has_proc or variable.encode() in Path(f"/proc/{pid}/environ").read_bytes()
            ):
                found.append(pid)
        except OSError:  # it has ended, or belongs to another user
            continue
    return found


def _has_proc() -> bool:
    """Whether this is Linux with its /proc."""
    return os.path.exists("/proc/self/environ")


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        return ""


def stop(pid: int, *, grace_s: float = STOP_GRACE_S) -> None:
    """Send SIGTERM to a process that leads its session, and after `grace_s` SIGKILL to its process group.

    Returns when the process has ended. Raises EngineError if this user may not stop it.
    """
    identity = process_identity(pid)
    if identity is None:
        return
    try:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while process_identity(pid) == identity:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                deadline += grace_s
            time.sleep(0.02)
    except ProcessLookupError:  # it has just ended
        return
    except PermissionError:
        raise EngineError(f"this user may not stop process {pid}, which belongs to another user") from None
