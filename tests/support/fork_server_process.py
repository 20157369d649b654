"""Forks processes that have modules loaded already: `fork_server_process.py MODULE[:FUNCTION]...`.

It imports the modules, and calls the functions. Then it accepts connections at the socket that is its
stdin, and forks a process for each. It ends when all of those have ended.

Such a process writes b"ready", and waits for messages of one JSON object, {"program": "module:function", "argv": [...],
"cwd": "...", "env": {...}}, with the descriptors of a status socket, stdin, stdout and stderr. The function runs in a
forked process of its own session. The status socket gets that process's id and pidfd at once, and at its end its exit
status (negative: a signal).

When the other end of the connection is closed everywhere, it ends and kills the processes that still run: a test run
that was interrupted leaves none.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MESSAGE_BYTES = 1 << 20
_SAFE_THREADS = {"jemalloc_bg_thd"}  # pyarrow's allocator stops it before a fork, and starts it again afterwards


def main() -> None:
    """Load what the command line names, then fork a process for each connection until all have ended."""
    listener = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for name in sys.argv[1:]:
        module, _, function = name.partition(":")
        if function:
            _function(name)()
        else:
            importlib.import_module(module)
    _refuse_threads()
    gc.freeze()  # collections of the forked processes need not look at what was loaded, nor copy its pages
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    while ready := selector.select(None if len(selector.get_map()) > 1 else 0):  # one has connected before the start
        for key, _ in ready:
            if key.fileobj is not listener:
                selector.unregister(key.fileobj)
                os.waitpid(key.data, 0)
                os.close(key.fd)
                continue
            control, _ = listener.accept()
            with control:
                pid = os.fork()
                if not pid:
                    for open_ in list(selector.get_map().values()):
                        os.close(open_.fd)
                    serve(control)
                    os._exit(0)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)


def serve(control: socket.socket) -> None:
    """Fork what a connection asks for until it is closed."""
    control.send(b"ready")
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    while selector.get_map():
        for key, _ in selector.select():
            if key.fileobj is not control:
                selector.unregister(key.fileobj)
                _report_end(*key.data)
                os.close(key.fd)
                continue
            message, descriptors, *_ = socket.recv_fds(control, _MESSAGE_BYTES, 4)
            if not message:
                selector.unregister(control)
                for running in selector.get_map().values():
                    signal.pidfd_send_signal(running.fd, signal.SIGKILL)
                break
            _start(json.loads(message), descriptors, selector)


def _refuse_threads() -> None:
    """Raise if there is another thread: a fork could copy a lock that it holds. TensorFlow starts its threads later."""
    names = [Path(f"/proc/self/task/{thread}/comm").read_text().strip() for thread in os.listdir("/proc/self/task")]
    if others := [name for name in names if name not in _SAFE_THREADS][1:]:
        raise RuntimeError(f"a process with more than one thread cannot be forked safely: {', '.join(others)}")


def _start(request: dict[str, Any], descriptors: list[int], selector: selectors.BaseSelector) -> None:
    status = socket.socket(fileno=descriptors[0])
    pid = os.fork()
    if not pid:
        status.close()
        for key in list(selector.get_map().values()):
            os.close(key.fd)
        _become(request, descriptors[1:])
    for descriptor in descriptors[1:]:
        os.close(descriptor)
    pidfd = os.pidfd_open(pid)
    socket.send_fds(status, [str(pid).encode()], [pidfd])
    selector.register(pidfd, selectors.EVENT_READ, (pid, status))


def _report_end(pid: int, status: socket.socket) -> None:
    _, how = os.waitpid(pid, 0)
    with status:
        try:
            status.send(str(os.waitstatus_to_exitcode(how)).encode())
        except OSError:
            return  # the process that asked has ended


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    """Run the program of a request in this process, which was forked for it, and end."""
    code: object = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        tempfile.tempdir = None  # what was loaded may have looked up the directory already, with another TMPDIR
        sys.argv = [request["program"], *request["argv"]]
        code = _function(request["program"])()
    except SystemExit as error:
        code = error.code
    except BaseException:  # noqa: BLE001 - as at the end of any program
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else bool(code))


def _function(name: str) -> Callable[[], object]:
    module, _, function = name.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


if __name__ == "__main__":
    main()
