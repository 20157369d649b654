"""The process that checks new versions before a server loads them: `python -m tfsctl.server.app.check_process`.

`lifecycle/version_checks.py` starts it with a job in its environment, and reads from its output, line by line, that
TensorFlow is ready and the result for each version. If a version ends this process, the server continues.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.server.app.loading import make_loader, start_runtime
from tfsctl.server.config.flags import Flags
from tfsctl.server.lifecycle.loader import Loader
from tfsctl.server.lifecycle.version_checks import JOB_VARIABLE, CheckJob
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.process.memory import limit_allocations
from tfsctl.server.process.resources import available_memory_bytes
from tfsctl.server.process.shutdown import end_with_parent
from tfsctl.server.runtime.session import BoundSignature, Feeds, Session
from tfsctl.server.status import Code, ServingError

_NICE_INCREMENT = 10
_MAX_OUTPUT_BYTES = 64 * 1024 * 1024
_MAX_DIMENSIONS = 32  # of a NumPy array
_MAX_INPUT_ELEMENTS = 16 * 1024 * 1024
_RUN_S = 5.0  # for all signatures of a version


class CheckResult(NamedTuple):
    """Why a version cannot be loaded, if it cannot; and whether a run of it has not ended in time, which is no error."""

    error: ServingError | None
    still_runs: bool = False


def main() -> None:
    """Check the versions of the job, one after another."""
    job = CheckJob.from_json(os.environ.pop(JOB_VARIABLE))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    end_with_parent(signal.SIGKILL)
    _limit_resources(is_background=job.is_background)
    dtypes.use_bits()
    flags = Flags(**job.settings)
    loader = make_loader(flags, asyncio.new_event_loop(), NullRecorder())
    logging.disable(logging.WARNING)
    start_runtime(flags)
    limit_allocations(available_memory_bytes())  # the server must not be short of memory
    _report(job.token, Code.OK)
    for name, version, directory in job.versions:
        error, still_runs = check_version(loader, name, version, Path(directory))
        _report(job.token, error.code if error else Code.OK, error.message if error else "")
        if still_runs:
            break  # the parent starts another process for the other versions
    sys.stdout.flush()
    os._exit(0)  # does not wait for threads inside TensorFlow


def check_version(loader: Loader, name: str, version: int, directory: Path) -> CheckResult:
    """Load a version, which warms it up, and run its signatures for a few seconds."""
    try:
        servable = loader.load(name, version, directory)
        runs = threading.Thread(target=run_signatures, args=(servable.session,), daemon=True)
        runs.start()
        runs.join(_RUN_S)
        if runs.is_alive():
            return CheckResult(None, still_runs=True)
        servable.close()
    except ServingError as error:
        return CheckResult(error)
    except MemoryError as error:
        message = f"Not enough memory to load the version: {error}"
        return CheckResult(ServingError(Code.RESOURCE_EXHAUSTED, message))
    except Exception as error:  # noqa: BLE001 - the server meets it too, and reports it
        return CheckResult(ServingError(Code.UNKNOWN, f"{type(error).__name__}: {error}"))
    return CheckResult(None)


def run_signatures(session: Session) -> None:
    """Run each signature once, with zeros and empty strings. A run may fail; only one that ends the process matters."""
    for name, definition in session.signature_defs.items():
        bound = session.signature(name)
        if bound is None or name.startswith("__"):
            continue
        feeds = _zero_feeds(bound, definition)
        if feeds is not None:
            with suppress(ServingError, MemoryError):
                session.run(feeds, bound.fetches)


def _zero_feeds(bound: BoundSignature, definition: protos.SignatureDef) -> Feeds | None:
    """An array of zeros or empty strings for each input; None if an input is too large, or has no NumPy dtype."""
    feeds = []
    for alias, endpoint in bound.inputs.items():
        shape = [1 if dim.size < 0 else dim.size for dim in definition.inputs[alias].tensor_shape.dim]
        if endpoint.dtype is None or len(shape) > _MAX_DIMENSIONS or np.prod(shape, dtype=float) > _MAX_INPUT_ELEMENTS:
            return None
        zero = b"" if endpoint.dtype.numpy.hasobject else 0
        feeds.append((endpoint, np.full(shape, zero, endpoint.dtype.numpy)))
    return feeds


def _limit_resources(*, is_background: bool) -> None:
    """Limit what this process can take from the server: its output, its core dumps, memory, and CPU if `is_background`.

    If memory is short, the kernel ends this process first.
    """
    if is_background:
        with suppress(OSError):
            os.nice(_NICE_INCREMENT)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_OUTPUT_BYTES, _MAX_OUTPUT_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _report(token: str, code: Code, message: str = "") -> None:
    line = json.dumps({"code": code, "message": message})
    os.write(1, f"{token}{line}\n".encode())


if __name__ == "__main__":
    main()
