"""The collector of a shadow: it takes copies from Envoy on a UNIX socket, and sends them to both versions.

The event loop only receives: it answers each copy at once and puts it into a bounded queue. Threads send the requests of
the queue to A, to B, and to A again, and add the answers to the statistics. Envoy ignores the answers of the collector,
and the front kills a collector whose event loop hangs.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core import protos
from tfsctl.errors import TfsctlError
from tfsctl.rollout.shadow.both_versions import BothVersions
from tfsctl.rollout.shadow.collector_files import CollectorFiles
from tfsctl.rollout.shadow.collector_options import CollectorOptions
from tfsctl.rollout.shadow.copied_request import GRPC_PREDICT, CopiedRequest, NotComparableError, read_request
from tfsctl.rollout.shadow.request_queue import RequestQueue
from tfsctl.rollout.shadow.shadow_state import ShadowProgress
from tfsctl.rollout.shadow.shadow_statistics import ShadowStatistics
from tfsctl.server.http.exchange import Exchange, Pairs
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.memory_budget import BudgetExceededError
from tfsctl.server.request_body import BodyTimeoutError, BodyTooLargeError, ClientGoneError

THREADS = 4
HEARTBEAT_S = 0.5  # between two writes of the progress
REPORT_S = 1.0  # the shortest time between two reports
REPORT_PAUSE = 20  # times as long as a report took, so that reports take at most a twentieth of the time
DRAIN_S = 5.0  # how long the requests in the queue may take at the end
MAX_BODY_BYTES = 64 * 1024 * 1024
HELD_BYTES = 128 * 1024 * 1024
MAX_CONNECTIONS = 100
_GRPC_HEADERS: Pairs = ((b"content-type", b"application/grpc"),)
_GRPC_OK: Pairs = ((b"grpc-status", b"0"),)


class CollectorProcess:
    """A collector; `serve` runs it."""

    def __init__(self, options: CollectorOptions, say: Callable[[str], None]) -> None:
        self._options, self._say = options, say
        self._files = CollectorFiles(Path(options.folder))
        self.statistics = ShadowStatistics(options.plan, options.from_version, options.shadow, self._earlier())
        self._queue = RequestQueue()
        plan = options.plan
        self._client = GrpcClient(options.host, options.grpc_port, timeout_s=plan.request_timeout_s)
        self._versions = BothVersions(self._client, plan, options.from_version)
        self._threads = [threading.Thread(target=self._send_all, daemon=True) for _ in range(THREADS)]
        self._reported = 0  # rows of the last report
        self._next_report_s = 0.0

    def _earlier(self) -> ShadowProgress | None:
        """What an earlier collector of the same shadow has counted."""
        found = self._files.read_progress()
        return found if found is not None and found.shadow == self._options.shadow else None

    async def serve(self, stop: asyncio.Event) -> None:
        """Collect until `stop` is set; then send the requests in the queue, and write the last report. Raises OSError."""
        protos.PredictRequest()  # loads the messages, which takes long, before requests arrive
        address = Address(path=self._options.socket)
        listener = Listener(self.take, [address], max_connections=MAX_CONNECTIONS, held_bytes=HELD_BYTES)
        await listener.start()
        for thread in self._threads:
            thread.start()
        while not stop.is_set():
            self._files.write_progress(self.statistics.progress())
            if time.monotonic() >= self._next_report_s:
                await asyncio.to_thread(self._report)
            try:
                await asyncio.wait_for(stop.wait(), HEARTBEAT_S)
            except asyncio.TimeoutError:
                continue
        await listener.stop()
        await asyncio.to_thread(self._finish)

    def _finish(self) -> None:
        self._queue.close()
        end_s = time.monotonic() + DRAIN_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        self.statistics.count(dropped=self._queue.clear())
        self._report()
        self._files.write_progress(self.statistics.progress())

    async def take(self, exchange: Exchange) -> None:
        """Take one copied request, and answer it at once."""
        is_grpc = exchange.headers.get(b"content-type", b"").startswith(b"application/grpc")
        path = exchange.target.partition("?")[0]
        self.statistics.count(copies=1)
        try:
            body = await exchange.body(MAX_BODY_BYTES)
        except (BodyTooLargeError, BodyTimeoutError, BudgetExceededError):
            self.statistics.count(dropped=1)
            body = b""
        except ClientGoneError:
            self.statistics.count(dropped=1)
            return
        else:
            if not (path == GRPC_PREDICT if is_grpc else path.endswith(":predict")):
                self.statistics.count(skipped=1)
            elif not self._queue.put(CopiedRequest(is_grpc, dict(exchange.headers), body)):
                self.statistics.count(dropped=1)
        await exchange.reply(200, _GRPC_HEADERS if is_grpc else (), b"", _GRPC_OK if is_grpc else ())

    def _send_all(self) -> None:
        plan = self._options.plan
        while (request := self._queue.get()) is not None:
            if self.statistics.is_full:
                self.statistics.count(skipped=1)
                continue
            try:
                call = read_request(request, plan.model, plan.signature, lambda: self._versions.metadata()[0])
            except NotComparableError:
                self.statistics.count(skipped=1)
                continue
            except TfsctlError:  # no metadata
                self.statistics.count(a_failures=1)
                continue
            try:
                self._versions.send(call, self.statistics)
            except Exception as error:  # noqa: BLE001 - a bug must not end the thread
                self._say(f"a request cannot be compared: {error!r}")
                self.statistics.count(skipped=1)

    def _report(self) -> None:
        """Write the comparison if there are new rows."""
        rows = self.statistics.compared_rows
        if rows == self._reported:
            return
        begun_s = time.monotonic()
        try:
            self._files.write_comparison(self._options.shadow, self.statistics.comparison(*self._versions.metadata()))
        except TfsctlError:
            return  # the server is being restarted
        self._reported = rows
        now_s = time.monotonic()
        self._next_report_s = now_s + max(REPORT_S, REPORT_PAUSE * (now_s - begun_s))
