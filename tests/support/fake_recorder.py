"""A Recorder for tests that keeps the events of requests."""

from __future__ import annotations

from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.status import Code


class FakeRecorder(Recorder):
    """Keeps what is recorded, without times."""

    is_active = True

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def request_succeeded(self, model: str, api: str, protocol: str, seconds: float) -> None:
        """Keep it."""
        del seconds
        self.events.append(("succeeded", model, api, protocol))

    def request_failed(self, model: str, code: Code) -> None:
        """Keep it."""
        self.events.append(("failed", model, code))

    def inference_finished(self, model: str, api: str, seconds: float, *, requests: int = 1) -> None:
        """Keep it."""
        del seconds, requests
        self.events.append(("inference", model, api))

    def examples_classified(self, model: str, examples: int) -> None:
        """Keep it."""
        self.events.append(("examples", model, examples))
