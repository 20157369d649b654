"""Runs a version the way the embedded server does, in a process of its own: `python -m … DIRECTORY`.

Loads the SavedModel with the server's session code and default options, then answers requests from stdin on stdout.
`session_process` starts it and describes the frames.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tfsctl.core import protos, tensors
from tfsctl.exporter.session_process import ERROR, LOADED, RESPONSE, read_frame, write_frame
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.session_config import session_config
from tfsctl.server.lifecycle.completeness import check_variables
from tfsctl.server.runtime import capi
from tfsctl.server.runtime.saved_model_file import read_meta_graph
from tfsctl.server.runtime.session import Session
from tfsctl.server.signatures.predict import feeds_for
from tfsctl.server.status import Code, ServingError

_TAGS = ("serve",)


def main() -> None:
    """Load the version and answer requests until stdin is closed."""
    requests, responses = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a model may print to stdout
    try:
        session = _load(Path(sys.argv[1]))
    except ServingError as error:
        write_frame(responses, ERROR, _error(error))
        return
    write_frame(responses, LOADED)
    while (frame := read_frame(requests)) is not None:
        request = protos.PredictRequest.FromString(frame[1])
        try:
            response = _predict(session, request)
        except ServingError as error:
            write_frame(responses, ERROR, _error(error))
        else:
            write_frame(responses, RESPONSE, response.SerializeToString())


def _load(directory: Path) -> Session:
    config = session_config(Flags())
    capi.start_runtime(config)
    meta_graph = read_meta_graph(directory, _TAGS)
    with check_variables(directory, meta_graph):
        return Session(directory, tags=_TAGS, config=config, meta_graph=meta_graph)


def _predict(session: Session, request: protos.PredictRequest) -> protos.PredictResponse:
    signature = session.signature(request.model_spec.signature_name)
    if signature is None:
        raise ServingError(Code.FAILED_PRECONDITION, "the signature is not in the graph that was loaded")
    inputs = {name: tensors.from_proto(request.inputs[name]) for name in request.inputs}
    arrays = session.run(feeds_for(signature, inputs), signature.fetches)
    response = protos.PredictResponse()
    for endpoint, array in zip(signature.fetches, arrays, strict=True):
        tensors.fill_proto(response.outputs[endpoint.alias], array)
    return response


def _error(error: ServingError) -> bytes:
    return f"{error.code.name}\n{error.message}".encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
