"""Warmup: runs requests recorded with a model before it is available, so that first-time work delays no client.

File, limit and messages: tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc and saved_model_warmup.cc.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.tfrecord import read_records
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.errors import InvalidInput
from tfsctl.server.execution.servable import Servable
from tfsctl.server.limits import MAX_MESSAGE_BYTES
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.signatures.predict import bind_signature, check_shapes, feeds_for, fetches_for
from tfsctl.server.signatures.serialized_input import serialized_examples
from tfsctl.server.status import Code, ServingError, invalid_argument

log = logging.getLogger(__name__)

MAX_RECORDS = 1000


def warm_up(servable: Servable, version_dir: Path, *, iterations: int, check_method_names: bool) -> None:
    """Run each warmup request of a version `iterations` times, in this thread. Does nothing if there are none.

    Raises the error of the first request that fails, DATA_LOSS for a damaged file, and INVALID_ARGUMENT for a record
    that is not a request or for too many records.
    """
    path = version_dir / WARMUP_FILE
    if not path.exists():
        log.info("No warmup data file found at %s", path)
        return
    log.info(
        "Starting to read warmup data for model at %s with model-warmup-options num_request_iterations { value: %d }",
        path,
        iterations,
    )
    started_s = time.monotonic()
    count = 0
    try:
        for count, record in enumerate(read_records(path, max_bytes=MAX_MESSAGE_BYTES), 1):
            request = _parse(record, path)
            for _ in range(iterations):
                run_request(servable, request, check_method_names=check_method_names)
            if count > MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}")
    except InvalidInput as error:
        raise ServingError(
            Code.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from error
    except OSError as error:
        raise ServingError(Code.UNKNOWN, f"{path}; {error.strerror}") from error
    log.info(
        "Finished reading warmup data for model at %s. Number of warmup records read: %d. "
        "Elapsed time (microseconds): %d.",
        path,
        count,
        (time.monotonic() - started_s) * 1e6,
    )


def _parse(record: bytes, path: Path) -> protos.PredictionLog:
    """The message in a record. Raises INVALID_ARGUMENT."""
    try:
        return protos.PredictionLog.FromString(record)
    except DecodeError:
        text = record.decode("utf-8", "replace")
        raise invalid_argument(f"Failed to parse warmup record: {text} from {path}") from None


def run_request(servable: Servable, log_entry: protos.PredictionLog, *, check_method_names: bool) -> None:
    """Run one logged request. Logs of other kinds are ignored, as in the real server."""
    kind = log_entry.WhichOneof("log_type")
    if kind == "predict_log":
        _predict(servable, log_entry.predict_log.request)
        return
    if kind == "session_run_log":
        number = log_entry.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    if kind not in ("classify_log", "regress_log", "multi_inference_log"):
        return
    request = getattr(log_entry, kind).request
    if kind == "multi_inference_log":
        specs = [(t.model_spec.name, t.model_spec.signature_name, t.method_name) for t in request.tasks]
        signature_examples.check_tasks(servable, specs, check_method_name=check_method_names)
        methods = [(t.method_name, t.model_spec.signature_name) for t in request.tasks]
    else:
        method = signature_examples.CLASSIFY_METHOD if kind == "classify_log" else signature_examples.REGRESS_METHOD
        methods = [(method, request.model_spec.signature_name)]
    tasks = [
        signature_examples.bind_task(servable, method, signature, check_method_name=check_method_names)
        for method, signature in methods
    ]
    signature_examples.run_now(servable, tasks, serialized_examples(request.input))


def _predict(servable: Servable, request: protos.PredictRequest) -> None:
    bound = bind_signature(servable, request.model_spec.signature_name or DEFAULT_SIGNATURE)
    inputs = {}
    for alias, proto in request.inputs.items():
        try:
            inputs[alias] = tensors.from_proto(proto)
        except InvalidInput:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    feeds = feeds_for(bound, inputs)
    check_shapes(bound, feeds)
    servable.run_now(feeds, fetches_for(bound, request.output_filter))
