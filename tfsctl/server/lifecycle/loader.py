"""The loader: makes a servable from a version directory, with batching and warmup as the flags say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tfsctl.core.version_files.manifest import read_row_independence
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.server.batching.batching_session import BatchingSession
from tfsctl.server.batching.parameters import BatchingParameters, model_parameters
from tfsctl.server.batching.scheduler import BatchScheduler
from tfsctl.server.execution.coalescer import RequestCoalescer
from tfsctl.server.execution.crashed_runs import CrashedRuns
from tfsctl.server.execution.queue_limits import QueueLimits
from tfsctl.server.execution.servable import RunQueue, Servable
from tfsctl.server.lifecycle import warmup
from tfsctl.server.lifecycle.completeness import check_assets, check_file_types, check_variables
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.process.memory import unused_pages_released
from tfsctl.server.runtime.saved_model_file import directory_bytes, read_meta_graph
from tfsctl.server.runtime.session import Session
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

_LARGE_BYTES = 64 * 1024 * 1024
Merging = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class ServerBatching:
    """The settings of --enable_batching. `per_model`: each model has its own parameters file."""

    parameters: BatchingParameters
    scheduler: BatchScheduler
    per_model: bool


@dataclass(frozen=True, slots=True)
class Loader:
    """How versions are loaded, to be run from `loop`.

    - `config`: a serialized ConfigProto
    - `merging`: which signatures' requests may share a run: those that the export found to be row-independent ("auto"),
      all ("on") or none ("off")
    - `coalesces`: if false, every request is run alone
    - `batching`: TensorFlow Serving's batching, which takes the place of both; None if it is off
    - `warmup_iterations`: how often each warmup request is run
    - `check_method_names`: whether warmup requests must name a signature that was exported for their method
    """

    tags: Sequence[str]
    config: bytes
    merging: Merging
    loop: asyncio.AbstractEventLoop
    queue_limits: QueueLimits
    coalesces: bool = True
    batching: ServerBatching | None = None
    warmup_iterations: int = 1
    check_method_names: bool = False
    recorder: Recorder = field(default_factory=NullRecorder)

    def load(self, name: str, version: int, directory: Path) -> Servable:
        """Load and warm up one version. Call it in a thread: it may take minutes.

        Raises ServingError; nothing stays in memory then.
        """
        check_file_types(directory)
        parameters = self._batching_parameters(directory)
        session = self.open_session(directory)
        queue: RunQueue
        crashes = CrashedRuns(name, version, session, self.recorder)
        if parameters is not None and self.batching is not None:
            log.info("Wrapping session to perform batch processing")
            queue = BatchingSession(session, parameters, self.batching.scheduler, self.recorder, crashes)
        else:
            queue = RequestCoalescer(
                session, f"{name}-{version}", self.loop, self.queue_limits, crashes, coalesces=self.coalesces
            )
        servable = Servable(name, version, session, self._mergeable(session, directory), queue)
        try:
            if self.warmup_iterations:
                self.warm_up(servable, directory)
        except BaseException:
            servable.close()
            raise
        return servable

    def open_session(self, directory: Path) -> Session:
        """Load the SavedModel in a directory."""
        path, start_s = str(directory), time.perf_counter()
        session: Session | None = None
        try:
            is_large = directory_bytes(directory) > _LARGE_BYTES
            with unused_pages_released() if is_large else nullcontext():
                meta_graph = read_meta_graph(directory, self.tags)
                check_assets(directory, meta_graph)
                with check_variables(directory, meta_graph):
                    session = Session(
                        directory, tags=self.tags, config=self.config, recorder=self.recorder, meta_graph=meta_graph
                    )
        except ServingError:
            if session is not None:
                session.close()
            self.recorder.load_failed(path)
            raise
        elapsed_s = time.perf_counter() - start_s
        self.recorder.load_succeeded(path, elapsed_s, has_object_graph=session.has_object_graph)
        return session

    def warm_up(self, servable: Servable, directory: Path) -> None:
        """Run the warmup requests of a version, if it has any."""
        has_requests, start_s, status = (directory / WARMUP_FILE).exists(), time.perf_counter(), "OK"
        try:
            warmup.warm_up(
                servable, directory, iterations=self.warmup_iterations, check_method_names=self.check_method_names
            )
        except ServingError as error:
            status = str(error)
            raise
        finally:
            if has_requests:
                self.recorder.warmup_finished(str(directory), status, time.perf_counter() - start_s)

    def _batching_parameters(self, directory: Path) -> BatchingParameters | None:
        if self.batching is None:
            return None
        return model_parameters(self.batching.parameters, directory, per_model=self.batching.per_model)

    def _mergeable(self, session: Session, directory: Path) -> set[str]:
        if self.merging == "auto":
            return {signature for signature, independent in read_row_independence(directory).items() if independent}
        return set(session.signature_defs) if self.merging == "on" else set()
