"""Headers in the Python programs of `python_rest.py` and `python_grpc.py`."""

from __future__ import annotations

from tfsctl.clients.connection import Connection, Header


def header_expression(header: Header) -> str:
    """The value of a header as a Python expression; a secret is read from its environment variable."""
    if not header.variable:
        return repr(header.value)
    variable = f'os.environ["{header.variable}"]'
    return f"{header.prefix!r} + {variable}" if header.prefix else variable


def needs_os_module(connection: Connection) -> bool:
    """Whether the program reads an environment variable."""
    return any(header.variable for header in connection.headers)
