"""Builds the model server from its flags (core, service, REST and gRPC), starts it and stops it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tfsctl.server.app.interfaces import make_interfaces, make_recorder
from tfsctl.server.app.loading import make_loader, start_runtime
from tfsctl.server.config.configured_models import configured_models
from tfsctl.server.config.flags import Flags
from tfsctl.server.execution.servable import Servable
from tfsctl.server.lifecycle.config_poller import poll_config_file
from tfsctl.server.lifecycle.manager import CheckFunction, Manager
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.lifecycle.version_checks import VersionChecks, check_command
from tfsctl.server.process import memory, priorities
from tfsctl.server.process.crash_restart import CrashRestart
from tfsctl.server.process.resources import memory_limit_bytes
from tfsctl.server.process.shutdown import RunningRequests
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.runtime import crash_handler
from tfsctl.server.runtime.allocator_choice import choose_allocator

log = logging.getLogger(__name__)


class ModelServer:
    """The models and interfaces of one process, which serves these `requests`. Create it on the event loop it runs on."""

    def __init__(self, flags: Flags, requests: RunningRequests) -> None:
        self._flags, self._requests = flags, requests
        self._polling: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._runtime_started = threading.Event()
        self._crash_restart = CrashRestart("--check_new_versions=always")

    async def start(self) -> None:
        """Load the models. Returns when all are available; raises ServingError if one cannot be loaded."""
        flags = self._flags
        models = configured_models(flags)
        recorder = self.recorder = make_recorder(flags)
        loop = asyncio.get_running_loop()
        self._loader = make_loader(flags, loop, recorder)
        manager = Manager(
            self._load,
            max_retries=flags.max_num_load_retries,
            retry_interval_s=flags.load_retry_interval_micros / 1e6,
            load_threads=flags.num_load_threads,
            unload_threads=flags.num_unload_threads,
            check=self._version_check(),
            checks_alone=flags.check_new_versions == "always",
        )
        self._request_logs = RequestLogs(recorder)
        self.core = ServerCore(
            manager,
            request_logs=self._request_logs,
            poll_wait_s=flags.file_system_poll_wait_seconds,
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        interfaces = make_interfaces(flags, self.core, recorder, self._request_logs)
        self.rest, self.grpc, self.streams = interfaces.rest, interfaces.grpc, interfaces.streams
        # TensorFlow starts while the core finds the versions and has them checked in another process.
        base_paths = [model.base_path for model in models]
        runtime = priorities.run_in_low_priority_thread(self._start_runtime, base_paths)
        try:
            await asyncio.gather(runtime, self.core.start(models))
        finally:
            self._crash_restart.remove()
        crash_handler.install()
        # Before the ports are open: a full garbage collection would hold the event loop during the first request.
        memory.freeze_startup_objects()
        await asyncio.to_thread(memory.release_unused_pages)
        memory.limit_allocations(memory_limit_bytes())
        self._trimming = asyncio.create_task(memory.trim_regularly(lambda: self._requests.running))
        poll_s = flags.model_config_file_poll_wait_seconds
        if flags.model_config_file and poll_s > 0:
            self._polling = asyncio.create_task(poll_config_file(flags.model_config_file, self.core, wait_s=poll_s))

    def _start_runtime(self, base_paths: Sequence[str]) -> None:
        choose_allocator(base_paths)
        start_runtime(self._flags)
        if self._flags.check_new_versions == "auto":
            self._crash_restart.install()
        self._runtime_started.set()

    def _load(self, name: str, version: int, directory: Path) -> Servable:
        self._runtime_started.wait()
        if self._crash_restart.is_installed:
            self._crash_restart.protect_thread()
        return self._loader.load(name, version, directory)

    def _version_check(self) -> CheckFunction | None:
        if self._flags.check_new_versions == "never":
            return None
        return VersionChecks(check_command(), asdict(self._flags), self._is_serving).check

    def _is_serving(self) -> bool:
        return any(self.core.manager.is_served(name) for name in self.core.model_names)

    def announce(self) -> None:
        """Log that the ports are open, in the real server's words."""
        flags = self._flags
        if flags.port:
            log.info("Running gRPC ModelServer at %s:%d ...", flags.host, flags.port)
        if flags.grpc_socket_path:
            log.info("Running gRPC ModelServer at UNIX socket %s ...", flags.grpc_socket_path)
        if flags.rest_api_port:
            log.info("Exporting HTTP/REST API at:%s:%d ...", flags.host, flags.rest_api_port)

    async def stop(self) -> None:
        """End the request logs, and unload every model. No request is served any more."""
        for task in filter(None, (self._polling, self._trimming)):
            task.cancel()
        await asyncio.to_thread(self._request_logs.close)  # unloading may take until the process is ended
        await self.core.stop()
