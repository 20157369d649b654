"""Loads and runs a written version in a fresh process with the embedded server's session code (`session_worker`).

A version that runs there also runs on a server: the process has no Python objects of the source model. The processes
exchange frames: one byte for the kind, eight bytes for the length, the contents:

- LOADED (no contents): the version was loaded; it is the first frame of the worker.
- ERROR: the name of a gRPC status, a line break, and TensorFlow's message. After a failed load the worker ends.
- REQUEST: a PredictRequest. RESPONSE: the seconds that the run took (a double), and a PredictResponse.
- WARMUP: a PredictionLog, which is run as a server runs warmup requests. The answer is a RESPONSE without contents.
- MEMORY (no contents): the request for a MEMORY frame with two numbers of eight bytes, the bytes of memory that the
  version took after loading, and the maximum, both without the memory of the process before the load.
"""

from __future__ import annotations

import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.predict_response import read_predict_response
from tfsctl.exporter.error_text import TensorFlowError
from tfsctl.exporter.exported import CHECK_TIMEOUT_S, Memory
from tfsctl.programs.subprocesses import PipedProgram

if TYPE_CHECKING:
    from typing_extensions import Self


LOADED, ERROR, REQUEST, RESPONSE, MEMORY, WARMUP = b"L", b"E", b"Q", b"R", b"M", b"W"
SECONDS, MEMORY_SIZES = struct.Struct(">d"), struct.Struct(">QQ")
_HEADER = struct.Struct(">cQ")
_WORKER = "tfsctl.exporter.session_worker"


def write_frame(stream: BinaryIO, kind: bytes, contents: bytes = b"") -> None:
    """Write one frame. Raises OSError if the other process has ended."""
    stream.write(_HEADER.pack(kind, len(contents)))
    stream.write(contents)
    stream.flush()


def read_frame(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """The kind and contents of the next frame; None at the end of the stream."""
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, length = _HEADER.unpack(header)
    contents = stream.read(length)
    return (kind, contents) if len(contents) == length else None


class SessionProcess:
    """A loaded version. Use it as a context manager: the process ends with the block."""

    def __init__(self, directory: Path, *, timeout_s: float = CHECK_TIMEOUT_S) -> None:
        """Load the SavedModel in a directory. Raises TensorFlowError if that fails, ProgramFailed without a process.

        Loading, and each request, may take `timeout_s`. The process is killed then, with DEADLINE_EXCEEDED.
        """
        path = directory.absolute()
        self._timeout_s = timeout_s
        self.last_run_s = 0.0
        # Python imports from the working directory first, and ours may hold a module named numpy.
        self._program = PipedProgram([sys.executable, "-m", _WORKER, str(path)], working_directory=path)
        try:
            self._receive()
        except BaseException:
            self._program.stop()
            raise

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name; `last_run_s` are the seconds of the run. Raises TensorFlowError."""
        request = protos.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            tensors.fill_proto(request.inputs[name], array)
        contents = self._ask(REQUEST, request.SerializeToString())
        self.last_run_s = SECONDS.unpack_from(contents)[0]
        outputs, _ = read_predict_response(contents[SECONDS.size :])
        return outputs

    def warm_up(self, request: protos.PredictionLog) -> None:
        """Run a warmup request. Raises TensorFlowError if a server would fail on it."""
        self._ask(WARMUP, request.SerializeToString())

    def memory(self) -> Memory:
        """The memory that the version takes so far. Raises TensorFlowError if the process has ended."""
        return Memory(*MEMORY_SIZES.unpack(self._ask(MEMORY)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._program.stop()

    def _ask(self, kind: bytes, contents: bytes = b"") -> bytes:
        try:
            write_frame(self._program.stdin, kind, contents)
        except OSError:
            raise self._ended() from None
        return self._receive()

    def _receive(self) -> bytes:
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            self._program.kill()

        timer = threading.Timer(self._timeout_s, kill)
        timer.daemon = True
        timer.start()
        try:
            frame = read_frame(self._program.stdout)
        finally:
            timer.cancel()
        if timed_out.is_set():
            raise TensorFlowError("DEADLINE_EXCEEDED", f"it takes longer than {self._timeout_s:g} s")
        if frame is None:
            raise self._ended()
        kind, contents = frame
        if kind == ERROR:
            status, _, message = contents.decode("utf-8", "replace").partition("\n")
            raise TensorFlowError(status, message)
        return contents

    def _ended(self) -> TensorFlowError:
        return TensorFlowError("ABORTED", f"the process that ran the model ended with status {self._program.wait()}")
