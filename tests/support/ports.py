"""TCP ports for the tests: each test process has a block of its own, and a listener is known by its process."""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from fork_servers import ForkedProcess
from waiting import wait_for

HOST = "127.0.0.1"
_FIRST, _LAST, _BLOCK = 10_240, 20_480, 256  # below the ports that tfsctl chooses, and Linux for clients
_locks: list[FileLock] = []


def free_ports(count: int) -> list[int]:
    """Free ports that no other test process will choose.

    TensorFlow Serving takes port 0 for "off", so the system cannot choose one when the server starts.
    """
    chosen: list[int] = []
    for port in itertools.islice(_block(), 4 * _BLOCK):
        if _is_free(port):
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise AssertionError(f"no {count} free ports in this process's block")


def listening(pid: int, ports: Collection[int]) -> set[int]:
    """The ports, out of these, that the process listens on."""
    candidates = {
        port for port in ports if _answers(port)
    }  # /proc has thousands of connections, so it is read only if a port answers
    if not candidates:
        return set()
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return set()
    return candidates & {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}


def wait_until_listening(process: subprocess.Popen[Any] | ForkedProcess, ports: Collection[int], log: Path) -> None:
    """Wait until the process itself listens on the ports. Fails with the log if it ends before."""

    def is_listening() -> bool:
        assert process.poll() is None, log.read_text()
        return listening(process.pid, ports) == set(ports)

    wait_for(is_listening, log.read_text)


@cache
def _block() -> Iterator[int]:
    """The ports of this process's block, over and over. A lock keeps other test processes of the user out of it."""
    folder = Path(tempfile.gettempdir()) / f"tfsctl-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    firsts = list(range(_FIRST, _LAST, _BLOCK))
    random.shuffle(firsts)
    for first in firsts:
        lock = FileLock(folder / f"{first}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        _locks.append(lock)  # until the process ends
        return itertools.cycle(range(first, first + _BLOCK))
    raise AssertionError(f"every block of ports is locked in {folder}")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
