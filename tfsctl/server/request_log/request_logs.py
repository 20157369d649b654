"""The request logs of all models: follows the configuration, and samples requests for the REST and gRPC adapters."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.request_log.request_log import RequestLog, SampledRequest, read_clocks
from tfsctl.server.status import invalid_argument
from tfsctl.serving_config.model_config import ModelConfig

if TYPE_CHECKING:
    from tfsctl.core import protos

MAX_QUEUED_BYTES = 64 << 20  # for each model
_CLOSE_TIMEOUT_S = 10.0


class RequestLogs:
    """The request logs of a server. Without a `logging_config` there are none, and `is_on` is False."""

    def __init__(self, recorder: Recorder | None = None, *, max_queued_bytes: int = MAX_QUEUED_BYTES) -> None:
        self.is_on = False
        self._recorder = recorder or NullRecorder()
        self._max_queued_bytes = max_queued_bytes
        self._logs: dict[str, RequestLog] = {}
        self._closing: list[RequestLog] = []

    def configure(self, models: Sequence[ModelConfig]) -> None:
        """Apply the logging_config of each model. A log with an unchanged configuration stays open."""
        wanted = {model.name: model.logging for model in models if model.logging is not None}
        for name in [name for name, log in self._logs.items() if wanted.get(name) != log.logging]:
            log = self._logs.pop(name)
            log.close()
            self._closing.append(log)
        for name, logging in wanted.items():
            if name not in self._logs:
                self._logs[name] = RequestLog(name, logging, self._recorder, max_queued_bytes=self._max_queued_bytes)
        self.is_on = bool(self._logs)

    def sample(
        self,
        model: str,
        version: Callable[[], tuple[int | None, Mapping[str, protos.SignatureDef] | None]],
        convert: Callable[[SampledRequest], protos.PredictionLog],
        *,
        api: str,
        protocol: str,
        body: bytes,
    ) -> SampledRequest | None:
        """Begin the entry of a request, or return None if it is not to be logged.

        `version` returns the number and the SignatureDefs of the version that answers the request; `convert` makes the
        PredictionLog of the finished request; `body` is the request as the client sent it.
        """
        log = self._logs.get(model)
        if log is None or not log.is_sampled():
            return None
        return SampledRequest(log, convert, api, protocol, model, *version(), body, *read_clocks())

    @property
    def is_closing(self) -> bool:
        """Whether logs have ended that may not be written yet."""
        return bool(self._closing)

    def wait_until_closed(self) -> None:
        """Wait until the logs that have ended are written. Any thread."""
        logs, self._closing = self._closing, []
        deadline_s = time.monotonic() + _CLOSE_TIMEOUT_S
        for log in logs:
            log.wait_until_closed(max(0.0, deadline_s - time.monotonic()))

    def close(self) -> None:
        """End all logs, and wait until they are written."""
        self.configure(())
        self.wait_until_closed()


def create_folders(models: Sequence[ModelConfig]) -> None:
    """Create the folders of the request logs. Raises INVALID_ARGUMENT if one cannot be written."""
    for model in models:
        if model.logging is None:
            continue
        folder = Path(model.logging.filename_prefix).parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise invalid_argument(f"The request log of model {model.name} cannot be written: {error}") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise invalid_argument(f"The request log of model {model.name} cannot be written: no access to {folder}")
