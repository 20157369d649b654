"""The model server put together from its flags: core, service and both adapters, with a start and an end."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import get_args

from tfsctl.core import protos
from tfsctl.server import capi, servable
from tfsctl.server.configured_models import configured_models
from tfsctl.server.flags import Flags, session_threads
from tfsctl.server.grpc import GrpcApi
from tfsctl.server.manager import Manager
from tfsctl.server.rest import RestApi
from tfsctl.server.server_core import ServerCore
from tfsctl.server.service import Service
from tfsctl.server.status import invalid_argument

log = logging.getLogger(__name__)


class ModelServer:
    """Everything one process serves. Make it on the event loop it will run on."""

    def __init__(self, flags: Flags) -> None:
        self._flags = flags

    async def start(self) -> None:
        """Load the models; returns once all are available. Raises ServingError when that cannot come to pass."""
        flags = self._flags
        models = configured_models(flags)
        if all((flags.tensorflow_session_parallelism, *_explicit_threads(flags))):
            raise invalid_argument(
                "Either configure server_options.tensorflow_session_parallelism or "
                "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
                "separately. You cannot configure all."
            )
        await asyncio.to_thread(capi.start_runtime)
        intra, inter = session_threads(flags)
        config = protos.ConfigProto(intra_op_parallelism_threads=intra, inter_op_parallelism_threads=inter)
        load = partial(
            servable.load,
            tags=flags.saved_model_tags.split(","),
            config=config.SerializeToString(),
            merging=_merging(flags),
            loop=asyncio.get_running_loop(),
        )
        manager = Manager(
            load,
            max_retries=flags.max_num_load_retries,
            retry_interval_s=flags.load_retry_interval_micros / 1e6,
        )
        self.core = ServerCore(
            manager,
            poll_wait_s=flags.file_system_poll_wait_seconds,
            allow_labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        )
        service = Service(self.core, check_method_names=flags.enable_signature_method_name_check)
        self.rest = RestApi(service, timeout_s=flags.rest_api_timeout_in_ms / 1e3)
        self.grpc = GrpcApi(service)
        await self.core.start(models)

    async def announce(self) -> None:
        """Say that the ports are open, in the real server's words, once they are."""
        flags = self._flags
        if flags.port:
            await _wait_until_open(flags.host, flags.port)
            log.info("Running gRPC ModelServer at %s:%d ...", flags.host, flags.port)
        if flags.rest_api_port:
            await _wait_until_open(flags.host, flags.rest_api_port)
            log.info("Exporting HTTP/REST API at:%s:%d ...", flags.host, flags.rest_api_port)

    async def stop(self) -> None:
        """Unload every model, each after its last request."""
        await self.core.stop()


def _merging(flags: Flags) -> servable.Merging:
    known: tuple[servable.Merging, ...] = get_args(servable.Merging)
    for choice in known:
        if flags.batching == choice:
            return choice
    raise invalid_argument(f"--batching must be auto, on or off; got {flags.batching}")


def _explicit_threads(flags: Flags) -> tuple[int, int]:
    return flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism


async def _wait_until_open(host: str, port: int) -> None:
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to reach a wildcard address
    while True:
        try:
            _, writer = await asyncio.open_connection(address, port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
