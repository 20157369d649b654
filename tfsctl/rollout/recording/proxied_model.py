"""A model of any server whose requests are recorded by a proxy in this process (`recording_proxy`)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import grpc
import httpx
import uvloop

from tfsctl.clients import tls as client_tls
from tfsctl.clients.connection import ClientTls, Connection
from tfsctl.clients.grpc import GrpcClient
from tfsctl.clients.rest import RestClient
from tfsctl.core.types import ModelMetadata, ModelRef
from tfsctl.errors import EngineError
from tfsctl.inputs.server_url import parse_server_url
from tfsctl.rollout.recording.recording_proxy import RecordingProxy
from tfsctl.rollout.recording.served_signatures import ServedSignatures
from tfsctl.rollout.recording.upstream import Upstream, parse_address
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.request_log.request_log import RequestLog
from tfsctl.serving_config.request_logging import RequestLogging

MAX_CONNECTIONS = 10_000
MAX_QUEUED_BYTES = 64 << 20
_CLOSE_S = 10.0
_METADATA_TIMEOUT_S = 10.0


class ProxiedModel:
    """A model whose requests pass through a proxy on `listen`, as long as they are recorded."""

    def __init__(self, upstream: Upstream, model: str, listen: tuple[str, int]) -> None:
        self.name = model
        self._upstream, self._listen = upstream, listen
        self._running: _RunningProxy | None = None

    @property
    def server_name(self) -> str:
        """The name of the server behind the proxy, or its URL."""
        return self._upstream.name

    @property
    def logging(self) -> RequestLogging | None:
        """How an earlier command records its requests: None, because a proxy ends with its command."""
        return None

    def metadata(self) -> ModelMetadata:
        """The signatures of the latest version. Raises as ServingClient documents."""
        return self._fetch(ModelRef(self.name))

    def configure(self, logging: RequestLogging | None) -> None:
        """Start a proxy that records, or stop it if `logging` is None. Returns when the files are complete.

        Raises EngineError if the proxy cannot listen.
        """
        if self._running is not None:
            self._running.stop()
            self._running = None
        if logging is not None:
            self._running = _RunningProxy(self._upstream, self.name, self._listen, logging, self._fetch)

    def has_ended(self) -> bool:
        """Whether the proxy has ended without being stopped."""
        return self._running is not None and not self._running.is_alive()

    def _fetch(self, ref: ModelRef) -> ModelMetadata:
        upstream = self._upstream
        if upstream.url is not None:
            url = parse_server_url(upstream.url)
            connection = Connection(tls=ClientTls() if url.is_encrypted else None, path=url.path)
            with RestClient(url.host, url.port, timeout_s=_METADATA_TIMEOUT_S, connection=connection) as rest:
                return rest.metadata(ref)
        host, port = parse_address(upstream.grpc_address or "", "--grpc-address")
        connection = Connection(tls=upstream.grpc_tls)
        with GrpcClient(host, port, timeout_s=_METADATA_TIMEOUT_S, connection=connection) as client:
            return client.metadata(ref)


class _RunningProxy:
    """A proxy in a thread with an event loop of its own."""

    def __init__(
        self,
        upstream: Upstream,
        model: str,
        listen: tuple[str, int],
        logging: RequestLogging,
        fetch: Callable[[ModelRef], ModelMetadata],
    ) -> None:
        self._upstream, self._listen = upstream, listen
        self._log = RequestLog(model, logging, NullRecorder(), max_queued_bytes=MAX_QUEUED_BYTES)
        self._model, self._signatures = model, ServedSignatures(fetch)
        self._loop = uvloop.new_event_loop()
        self._is_listening = threading.Event()
        self._stop = asyncio.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="recording-proxy", daemon=True)
        self._thread.start()
        self._is_listening.wait()
        if self._error is not None:
            self._thread.join()
            self._close_log()
            host, port = listen
            why = self._error.strerror or str(self._error)
            what = f"cannot listen on {host}:{port}: "
            raise EngineError(what + why.removeprefix(what), hint="--listen another port")

    def is_alive(self) -> bool:
        """Whether the proxy is running."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer the running requests, and complete the files."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._close_log()

    def _close_log(self) -> None:
        self._log.close()
        self._log.wait_until_closed(_CLOSE_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()
            self._is_listening.set()

    async def _serve(self) -> None:
        rest, channel = self._open_rest(), self._open_channel()
        proxy = RecordingProxy(rest, channel, self._log, self._model, self._signatures)
        host, port = self._listen
        listener = Listener(proxy, [Address(host, port)], max_connections=MAX_CONNECTIONS)
        try:
            await listener.start()
        except OSError as error:
            self._error = error
            return
        self._is_listening.set()
        await self._stop.wait()
        await listener.stop()
        if rest is not None:
            await rest.aclose()
        if channel is not None:
            await channel.close()

    def _open_rest(self) -> httpx.AsyncClient | None:
        if self._upstream.url is None:
            return None
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=60.0)
        timeout = httpx.Timeout(None, connect=5.0)
        client = httpx.AsyncClient(
            base_url=self._upstream.url, limits=limits, timeout=timeout, trust_env=False, follow_redirects=False
        )
        client.headers.clear()
        return client

    def _open_channel(self) -> grpc.aio.Channel | None:
        address = self._upstream.grpc_address
        if address is None:
            return None
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        options += [("grpc.enable_http_proxy", 0)]
        if self._upstream.grpc_tls is None:
            return grpc.aio.insecure_channel(address, options)
        credentials = grpc.ssl_channel_credentials(*client_tls.read_pem(self._upstream.grpc_tls))
        return grpc.aio.secure_channel(address, credentials, options)
