"""Loads and runs a written version in a fresh process with the embedded server's session code (`session_worker`).

What passes here is what a server answers: no Python objects of the source model exist in that process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.predict_response import read_predict_response
from tfsctl.exporter import session_worker
from tfsctl.programs.subprocesses import PipedProgram

if TYPE_CHECKING:
    from typing_extensions import Self


class SessionError(Exception):
    """TensorFlow could not load the version or run a signature. `status` is the name of a gRPC status."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class SessionProcess:
    """A loaded version. Use it as a context manager: the process ends with the block."""

    def __init__(self, directory: Path) -> None:
        """Load the SavedModel in a directory. Raises SessionError if that fails, ProgramFailed without a process."""
        self._program = PipedProgram([sys.executable, "-m", session_worker.__name__, str(directory)])
        try:
            self._receive()
        except BaseException:
            self._program.stop()
            raise

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs of a signature by name. Raises SessionError."""
        request = protos.PredictRequest()
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            tensors.fill_proto(request.inputs[name], array)
        try:
            session_worker.write_frame(self._program.stdin, session_worker.REQUEST, request.SerializeToString())
        except OSError:
            raise self._ended() from None
        outputs, _ = read_predict_response(self._receive())
        return outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._program.stop()

    def _receive(self) -> bytes:
        frame = session_worker.read_frame(self._program.stdout)
        if frame is None:
            raise self._ended()
        kind, contents = frame
        if kind == session_worker.ERROR:
            status, _, message = contents.decode("utf-8", "replace").partition("\n")
            raise SessionError(status, message)
        return contents

    def _ended(self) -> SessionError:
        return SessionError("ABORTED", f"the process that ran the model ended with status {self._program.wait()}")
