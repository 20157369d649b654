"""Runs a version the way the embedded server does, in a separate process: `python -m … DIRECTORY`.

Loads the SavedModel with the server's session code and default options, then answers requests from stdin on stdout.
`session_process` starts it and describes the frames.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core import protos, tensors
from tfsctl.exporter.session_process import (
    ERROR,
    LOADED,
    MEMORY,
    MEMORY_SIZES,
    RESPONSE,
    SECONDS,
    WARMUP,
    read_frame,
    write_frame,
)
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.session_config import session_config
from tfsctl.server.lifecycle.completeness import check_variables
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.saved_model_file import read_meta_graph
from tfsctl.server.runtime.session import Session
from tfsctl.server.signatures.predict import feeds_for
from tfsctl.server.status import Code, ServingError

if TYPE_CHECKING:
    from tfsctl.server.execution.pending_run import AloneCodec, PendingRun

_TAGS = ("serve",)


def main() -> None:
    """Load the version and answer requests until stdin is closed."""
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a model may print to stdout
    config = session_config(Flags())
    capi.start_runtime(config)
    before_bytes, _ = _memory()
    try:
        session = _load(Path(sys.argv[1]), config)
    except ServingError as error:
        write_frame(responses, ERROR, _error(error))
        return
    loaded_bytes, _ = _memory()
    write_frame(responses, LOADED)
    while (frame := read_frame(requests)) is not None:
        kind, contents = frame
        try:
            if kind == MEMORY:
                sizes = (loaded_bytes, _memory()[1])
                answer = MEMORY_SIZES.pack(*(max(0, size - before_bytes) for size in sizes))
            elif kind == WARMUP:
                _warm_up(session, protos.PredictionLog.FromString(contents))
                answer = b""
            else:
                seconds, response = _predict(session, protos.PredictRequest.FromString(contents))
                answer = SECONDS.pack(seconds) + response.SerializeToString()
        except ServingError as error:
            write_frame(responses, ERROR, _error(error))
        else:
            write_frame(responses, MEMORY if kind == MEMORY else RESPONSE, answer)


def _warm_up(session: Session, request: protos.PredictionLog) -> None:
    """Run a warmup request as the server does. The imports take a tenth of a second, which most exports do not need."""
    from tfsctl.server.execution.servable import Servable
    from tfsctl.server.lifecycle.warmup import run_request

    servable = Servable("model", 1, session, (), _NoQueue(session))
    run_request(servable, request, check_method_names=False)


class _NoQueue:
    """A `RunQueue` that queues nothing: each request runs at once."""

    accepts_codecs = False
    has_runs = False

    def __init__(self, session: Session) -> None:
        self.run_now = session.run

    def submit(self, run: PendingRun) -> None:
        """Refuse: warmup requests are run, not queued."""
        raise NotImplementedError

    def answer_at_once(self, _codec: AloneCodec, _payload: object, _nbytes: int) -> None:
        """Every request would have to be submitted."""

    def cancel(self, run: PendingRun) -> None:
        """Do nothing: no request waits."""

    def close(self) -> bool:
        """Do nothing: no thread runs."""
        return True


def _memory() -> tuple[int, int]:
    """The resident memory of this process in bytes: now, and at most so far (proc(5))."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}
    return int(sizes["VmRSS"]) * 1024, int(sizes["VmHWM"]) * 1024


def _load(directory: Path, config: bytes) -> Session:
    meta_graph = read_meta_graph(directory, _TAGS)
    with check_variables(directory, meta_graph):
        return Session(directory, tags=_TAGS, config=config, meta_graph=meta_graph)


def _predict(session: Session, request: protos.PredictRequest) -> tuple[float, protos.PredictResponse]:
    """The seconds of the run, and the response."""
    signature = session.signature(request.model_spec.signature_name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, "the signature is not in the graph that was loaded")
    inputs = {name: tensors.from_proto(request.inputs[name]) for name in request.inputs}
    feeds = feeds_for(signature, inputs)
    started_s = time.perf_counter()
    arrays = session.run(feeds, signature.fetches)
    seconds = time.perf_counter() - started_s
    response = protos.PredictResponse()
    for endpoint, array in zip(signature.fetches, arrays, strict=True):
        tensors.fill_proto(response.outputs[endpoint.alias], array)
    return seconds, response


def _error(error: ServingError) -> bytes:
    return f"{error.code.name}\n{error.message}".encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
