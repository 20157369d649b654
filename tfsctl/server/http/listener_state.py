"""The state shared by all connections of a listener: the application, the memory budget, and the connections."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tfsctl.server.http.request_tasks import RequestTasks
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.process.loop_turns import LoopTurns
from tfsctl.server.process.shutdown import RunningRequests

if TYPE_CHECKING:
    from tfsctl.server.http.exchange import Application

_READERS_PER_TURN = 8  # a connection reads up to 256 KiB at once


class Connection(Protocol):
    """One client's connection."""

    def check_timeouts(self, now_s: float) -> None:
        """Close the connection if it is idle, slow or too old at `now_s` (the event loop's time)."""

    def close(self) -> None:
        """Close the connection; requests that are running are cancelled."""

    def drain(self) -> None:
        """Answer the running requests, then close, so that the client opens another connection for its next request."""


@dataclass(slots=True)
class ListenerState:
    """The state that a listener's connections share.

    `peers` counts the connections of each IP address. If `is_draining`, another process has taken over the ports, and
    new connections are closed after one request. Connections whose bodies arrive in parts read in turn (`readers`).
    """

    application: Application
    loop: asyncio.AbstractEventLoop
    max_connections: int
    budget: MemoryBudget
    connections: set[Connection] = field(default_factory=set)
    peers: Counter[str] = field(default_factory=Counter)
    recorder: Recorder = field(default_factory=NullRecorder)
    running: RunningRequests = field(default_factory=RunningRequests)
    is_draining: bool = False
    readers: LoopTurns = field(init=False)
    tasks: RequestTasks = field(init=False)

    def __post_init__(self) -> None:
        self.readers = LoopTurns(self.loop, _READERS_PER_TURN)
        self.tasks = RequestTasks(self.loop, self.application, self.connections, self.running)

    def disconnected(self, connection: Connection, peer: str) -> None:
        """Forget a connection, and count one less for its IP address."""
        self.connections.discard(connection)
        self.tasks.forget(connection)
        if peer:
            self.peers[peer] -= 1
            if self.peers[peer] <= 0:
                del self.peers[peer]
