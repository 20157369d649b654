"""A process that an earlier command started: whether it is still that one, and how it is stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

STOP_GRACE_S = 33.0  # the embedded server answers running requests for 30 s at most, then unloads its models


def born(pid: int) -> str | None:
    """What tells this process from every other that ever had its number: the boot and the tick it started in.

    None for a process that has ended, also while its parent has not taken note. Format: proc(5), /proc/PID/stat.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    state, start_tick = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {start_tick}"


def stop(pid: int, *, grace_s: float = STOP_GRACE_S) -> None:
    """Ask a process that leads its session to end with SIGTERM, and after `grace_s` end it and all it started.

    Returns when it is gone; nothing happens if it is gone already.
    """
    same = born(pid)
    if same is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while born(pid) == same:
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            deadline += grace_s
        time.sleep(0.02)
