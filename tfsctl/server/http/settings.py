"""What all connections of a listener have in common."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tfsctl.server.http.task_canceller import TaskCanceller

if TYPE_CHECKING:
    from tfsctl.server.http.exchange import Application

_HOUR_S = 3600.0


class Connection(Protocol):
    """One client."""

    def look_after(self, now_s: float) -> None:
        """Do what the time says: `now_s` is the event loop's."""

    def close(self) -> None:
        """End it; what is under way is broken off."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much. Seconds; None is for ever."""

    max_streams: int = 4096
    """Calls at once on one HTTP/2 connection."""
    max_age_s: float | None = None
    max_idle_s: float | None = _HOUR_S
    keepalive_s: float | None = None
    """After how much silence an HTTP/2 client is asked whether it is there."""
    keepalive_timeout_s: float = 20.0

    def look_every_s(self) -> float:
        """How often connections should be looked at."""
        times = [time for time in (self.max_age_s, self.max_idle_s, self.keepalive_s) if time is not None]
        if self.keepalive_s is not None:
            times.append(self.keepalive_timeout_s)
        return max(0.02, min(10.0, *(time / 4 for time in times))) if times else 10.0


@dataclass(slots=True)
class Site:
    """An application and its connections."""

    application: Application
    loop: asyncio.AbstractEventLoop
    max_connections: int
    connections: set[Connection] = field(default_factory=set)
    canceller: TaskCanceller = field(init=False)
    """Cancels the tasks of requests whose client has left."""

    def __post_init__(self) -> None:
        self.canceller = TaskCanceller(self.loop)
