"""Opens a listening TCP socket, which also tells whether a port can be used."""

from __future__ import annotations

import socket


def open_listener(address: str, port: int) -> socket.socket:
    """A socket that listens on an IP address and a port; 0 is any free port. Raises OSError and OverflowError."""
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Servers set SO_REUSEADDR, so ports of closed connections count as free. A bind alone can then succeed in spite of
        # another socket that is bound to the port, but listen() fails if that socket listens.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener
