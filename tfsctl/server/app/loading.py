"""Builds the loader of versions from the flags, for the server itself and for the process that checks versions."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import cast

from tfsctl.server.batching.parameters import server_parameters
from tfsctl.server.batching.scheduler import BatchScheduler
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.session_config import session_config
from tfsctl.server.execution.queue_limits import QueueLimits
from tfsctl.server.lifecycle.loader import Loader, Merging, ServerBatching
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.runtime import capi

log = logging.getLogger(__name__)


def make_loader(flags: Flags, loop: asyncio.AbstractEventLoop, recorder: Recorder) -> Loader:
    """The loader of a server with these flags."""
    return Loader(
        tags=flags.saved_model_tags.split(","),
        config=session_config(flags),
        merging=cast("Merging", flags.batching),
        loop=loop,
        queue_limits=_queue_limits(flags, recorder),
        coalesces=not flags.disable_request_optimizations,
        batching=_batching(flags, loop),
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
        check_method_names=flags.enable_signature_method_name_check,
        recorder=recorder,
    )


def start_runtime(flags: Flags) -> None:
    """Start TensorFlow, and load the custom operations. Takes about half a second."""
    capi.start_runtime(session_config(flags))
    for path in filter(None, flags.custom_op_library.split(",")):
        capi.load_library(path)
        log.info("Loaded custom operations: %s", path)


def _queue_limits(flags: Flags, recorder: Recorder) -> QueueLimits:
    return QueueLimits(
        recorder,
        max_requests=max(0, flags.max_queued_requests),
        max_bytes=max(0, flags.max_queued_bytes),
        max_wait_s=math.inf if flags.rest_timeout_s is None else flags.rest_timeout_s,
    )


def _batching(flags: Flags, loop: asyncio.AbstractEventLoop) -> ServerBatching | None:
    parameters = server_parameters(flags)
    if parameters is None:
        return None
    return ServerBatching(parameters, BatchScheduler(parameters, loop), flags.enable_per_model_batching_parameters)
