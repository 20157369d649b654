"""Runs the server's process: its event loop, its listeners, and its shutdown at SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import NoReturn

import uvloop

from tfsctl.core import dtypes
from tfsctl.server.app import listening
from tfsctl.server.app.application import Application
from tfsctl.server.config.flags import START_FAILED, Flags
from tfsctl.server.config.tls import Credentials
from tfsctl.server.http.listener import Listener
from tfsctl.server.limits import MIB
from tfsctl.server.process import floating_point, logs, loop_yield, memory, open_files, shutdown
from tfsctl.server.process.socket_file import SocketFile
from tfsctl.server.status import ServingError

_SWITCH_INTERVAL_S = 0.0005
"""How long the event loop waits for a thread that runs Python code. Python's default is 5 ms."""


def serve(flags: Flags, credentials: Credentials | None = None) -> NoReturn:
    """Serve until SIGTERM or SIGINT, then end the process with an exit code.

    Both signals must be blocked (`shutdown.hold_signals`). With credentials, gRPC uses TLS, and REST too if the flags
    say so.
    """
    dtypes.use_bits()
    floating_point.flush_denormals()
    memory.limit_heap()
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    open_files.raise_limit()
    logs.start()
    socket_file = SocketFile(flags.grpc_socket_path)
    _end(socket_file, uvloop.run(_serve(flags, credentials, socket_file)))


def _end(socket_file: SocketFile, code: int = 0) -> NoReturn:
    """Remove the UNIX socket and end the process at once, without waiting for threads inside TensorFlow."""
    socket_file.remove()
    logs.flush()
    os._exit(code)


async def _serve(flags: Flags, credentials: Credentials | None, socket_file: SocketFile) -> int:
    loop_yield.serve(asyncio.get_running_loop())
    drain_s = max(0, flags.drain_timeout_seconds)
    application = Application(flags)
    handover_requested = asyncio.Event()
    signalled = asyncio.ensure_future(
        shutdown.wait_for_signal(drain_s, lambda: _end(socket_file), handover_requested.set)
    )
    starting = asyncio.ensure_future(application.start())
    await asyncio.wait((starting, signalled), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        return 0  # nothing is served yet
    try:
        await starting
        listener = Listener(
            application,
            listening.addresses(flags, credentials),
            max_connections=open_files.for_connections(),
            held_bytes=flags.max_held_megabytes * MIB or None,
            recorder=application.recorder,
            running=application.requests,  # `drain` waits for these: with another count it would return at once
        )
        await listener.start()
        socket_file.remember()
    except (OSError, ServingError) as error:
        logs.flush()  # the reason must be the last line
        logs.write_line(sys.stdout, f"Failed to start server. Error: {error}")  # the real server prints it there too
        return START_FAILED
    application.announce()
    handed_over = asyncio.ensure_future(_hand_over(application, listener, handover_requested, drain_s))
    await asyncio.wait((signalled, handed_over), return_when=asyncio.FIRST_COMPLETED)
    await application.drain(drain_s)
    await listener.stop()
    await application.stop()
    return 0


async def _hand_over(application: Application, listener: Listener, requested: asyncio.Event, drain_s: float) -> None:
    """Hand the ports over each time that a signal requests it. Returns once another process has taken them over.

    The connections are closed then, or `drain_s` have passed.
    """
    while True:
        await requested.wait()
        requested.clear()
        if await listener.share_ports():
            application.end_streams()
            return await listener.drain(drain_s)
