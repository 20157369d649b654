"""Hand TCP ports over from one process of this user to another, without losing a connection.

Closing a listening socket resets the connections in its accept queue. So the older process keeps listening while the
newer one listens on the same port (SO_REUSEPORT), has the kernel send all new connections to the newer socket, and
closes its own socket when no client can be in its queue any more.

1. The older process receives SIGNAL and shares its ports: `share`.
2. The newer process listens on them. A server of ours that is started with VARIABLE does.
3. One of the two calls `prefer_newer`. Connections that the older process has accepted stay with it.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from array import array
from pathlib import Path

SIGNAL = signal.SIGUSR1  # a server of ours shares its ports, and leaves once another process listens on them
VARIABLE = "TFSCTL_JOIN_PORTS"  # set for a server that is to listen on the ports of a process that shares them
QUIET_S = 2.0  # before closing the older socket: handshakes may be in progress, and a lost packet is resent after 1 s

_LISTEN = "0A"  # net/tcp_states.h
_SO_ATTACH_REUSEPORT_CBPF = 51  # asm-generic/socket.h
_RETURN = struct.pack("HBBI", 0x06, 0, 0, 1)  # a classic BPF program, linux/filter.h: return the constant 1


def share(listener: socket.socket) -> None:
    """Let other processes of this user listen on the same port from now on."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def stop_sharing(listener: socket.socket) -> None:
    """Undo `share`. Sockets of other processes that listen already are not affected."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)


def prefer_newer(listener: socket.socket) -> bool:
    """Have the kernel send all new connections to the newer of two sockets that share the port of `listener`.

    When one of them is closed, the other one receives all. Returns False if there is only one. No privileges are needed.
    Raises OSError if the kernel cannot do it.
    """
    if not _is_shared(listener):
        return False
    program = array("B", _RETURN)
    filter_program = struct.pack("@HP", 1, program.buffer_info()[0])  # struct sock_fprog: instructions, and where
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, filter_program)
    return True


def _is_shared(listener: socket.socket) -> bool:
    """Whether another socket listens on the address and port of `listener`."""
    table = "/proc/net/tcp6" if listener.family == socket.AF_INET6 else "/proc/net/tcp"
    inode = str(os.fstat(listener.fileno()).st_ino)
    addresses: dict[str, str] = {}
    with open(table, encoding="ascii") as lines:
        next(lines)
        for line in lines:  # proc(5): local address at 1, state at 3, inode at 9
            fields = line.split()
            if fields[3] != _LISTEN:
                break  # listening sockets come first; there can be thousands of others
            addresses[fields[9]] = fields[1]
    return list(addresses.values()).count(addresses.get(inode, "")) > 1


def is_joining() -> bool:
    """Whether this process was started to listen on the ports of another one."""
    return bool(os.environ.get(VARIABLE))


def can_hand_over(pid: int) -> bool:
    """Whether a process expects SIGNAL. Any other process would be ended by it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    blocked = next((line for line in status.splitlines() if line.startswith("SigBlk:")), "SigBlk: 0")
    return bool(int(blocked.split()[1], 16) >> (SIGNAL - 1) & 1)


def can_join(address: str, port: int) -> bool:
    """Whether this process could listen on a port that another one shares, or that is free."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # in spite of open connections
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
