"""The model server put together from its flags: core, service and both adapters, with a start and an end."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import get_args

from tfsctl.server.app.interfaces import make_interfaces, make_recorder
from tfsctl.server.batching.parameters import server_parameters
from tfsctl.server.batching.scheduler import BatchScheduler
from tfsctl.server.config.configured_models import configured_models
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.session_config import session_config
from tfsctl.server.execution.queue_limits import QueueLimits
from tfsctl.server.lifecycle.config_poller import poll_config_file
from tfsctl.server.lifecycle.loader import Loader, Merging, ServerBatching
from tfsctl.server.lifecycle.manager import Manager
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.process import memory, priorities
from tfsctl.server.runtime import capi
from tfsctl.server.status import invalid_argument

log = logging.getLogger(__name__)


class ModelServer:
    """Everything one process serves. Make it on the event loop it will run on."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the models; returns once all are available. Raises ServingError when that cannot come to pass."""
        flags = self._flags
        models = configured_models(flags)
        recorder = self.recorder = make_recorder(flags)
        loop = asyncio.get_running_loop()
        config = session_config(flags)
        loader = Loader(
            tags=flags.saved_model_tags.split(","),
            config=config,
            merging=_merging(flags),
            loop=loop,
            queue_limits=_queue_limits(flags, recorder),
            coalesces=not flags.disable_request_optimizations,
            batching=_batching(flags, loop),
            warmup_iterations=max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
            check_method_names=flags.enable_signature_method_name_check,
            recorder=recorder,
        )
        await priorities.run_in_low_priority_thread(capi.start_runtime, config)
        for path in filter(None, flags.custom_op_library.split(",")):
            await asyncio.to_thread(capi.load_library, path)
            log.info("Loaded custom operations: %s", path)
        manager = Manager(
            loader.load,
            max_retries=flags.max_num_load_retries,
            retry_interval_s=flags.load_retry_interval_micros / 1e6,
            load_threads=flags.num_load_threads,
            unload_threads=flags.num_unload_threads,
        )
        self.core = ServerCore(
            manager,
            poll_wait_s=flags.file_system_poll_wait_seconds,
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        interfaces = make_interfaces(flags, self.core, recorder)
        self.rest, self.grpc, self.streams = interfaces.rest, interfaces.grpc, interfaces.streams
        await self.core.start(models)
        poll_s = flags.model_config_file_poll_wait_seconds
        if flags.model_config_file and poll_s > 0:
            self._polling = asyncio.create_task(poll_config_file(flags.model_config_file, self.core, wait_s=poll_s))

    async def announce(self) -> None:
        """Say that the ports are open, in the real server's words; then give back what the start took."""
        flags = self._flags
        if flags.port:
            log.info("Running gRPC ModelServer at %s:%d ...", flags.host, flags.port)
        if flags.grpc_socket_path:
            log.info("Running gRPC ModelServer at UNIX socket %s ...", flags.grpc_socket_path)
        if flags.rest_api_port:
            log.info("Exporting HTTP/REST API at:%s:%d ...", flags.host, flags.rest_api_port)
        memory.freeze_startup_objects()
        await asyncio.to_thread(memory.release_unused_pages)

    async def stop(self) -> None:
        """Unload every model, each after its last request."""
        if self._polling is not None:
            self._polling.cancel()
        await self.core.stop()


def _merging(flags: Flags) -> Merging:
    known: tuple[Merging, ...] = get_args(Merging)
    for choice in known:
        if flags.batching == choice:
            return choice
    raise invalid_argument(f"--batching must be auto, on or off; got {flags.batching}")


def _queue_limits(flags: Flags, recorder: Recorder) -> QueueLimits:
    timeout_ms = flags.rest_api_timeout_in_ms
    return QueueLimits(
        recorder,
        max_requests=max(0, flags.max_queued_requests),
        max_bytes=max(0, flags.max_queued_bytes),
        max_wait_s=timeout_ms / 1e3 if timeout_ms > 0 else math.inf,
    )


def _batching(flags: Flags, loop: asyncio.AbstractEventLoop) -> ServerBatching | None:
    parameters = server_parameters(flags)
    if parameters is None:
        return None
    return ServerBatching(parameters, BatchScheduler(parameters, loop), flags.enable_per_model_batching_parameters)
