"""Chooses warmup requests: from the inputs that a check ran a signature on, or from a file of the user.

A file is one of

- a recording: a TFRecord file of PredictionLog messages, or a directory of such files
- a `.jsonl` file: in each line the body of a REST request (`instances`, `inputs` or `examples`), or one row
- rows for the default signature, in any format that `predict --file` reads
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, Signature
from tfsctl.data import sources
from tfsctl.data.readers.prediction_logs import read_recording
from tfsctl.data.shaping import shape_rows
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.exporter.exported import SignatureCheck
from tfsctl.inputs.predict_inputs import choose_signature, shape_inputs, shape_lines
from tfsctl.server.rest.json import example as json_example
from tfsctl.server.status import ServingError

MAX_REQUESTS = 1000  # TensorFlow Serving refuses to load a version with more
_TFRECORD_SUFFIXES = (".tfrecord", ".tfrecords", "")
_CLASSIFY = "tensorflow/serving/classify"


def requests_of_checks(name: str, checks: Iterable[SignatureCheck]) -> list[protos.PredictionLog]:
    """Two requests for each signature that could be run: with one row, and with all rows of its check.

    Signatures that keep state are skipped, because a request would change it.
    """
    found = []
    for check in checks:
        if not check.ran or check.changes_state:
            continue
        batches = [check.input_arrays]
        if check.rows > 1 and all(array.ndim and len(array) == check.rows for array in check.input_arrays.values()):
            batches.insert(0, {alias: array[:1] for alias, array in check.input_arrays.items()})
        found += [_predict_log(name, check.signature, inputs) for inputs in batches]
    return found[:MAX_REQUESTS]


def requests_of_file(path: Path, name: str, signatures: Mapping[str, Signature]) -> list[protos.PredictionLog]:
    """The requests in a file. Raises NotFound or InvalidInput with the number of the line or record."""
    sources.check_exists(str(path))
    model = ModelMetadata(name, None, signatures)
    try:
        found = _read(path, model)
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    if not found:
        raise InvalidInput(f"{path.name} has no requests")
    if len(found) > MAX_REQUESTS:
        raise InvalidInput(
            f"{path.name} has more than {MAX_REQUESTS:,} requests, which is the most that TensorFlow Serving accepts",
            hint=f"keep the {MAX_REQUESTS:,} that differ most",
        )
    return found


def _read(path: Path, model: ModelMetadata) -> list[protos.PredictionLog]:
    if path.is_dir() or path.suffix in _TFRECORD_SUFFIXES:
        logs = _prediction_logs(path)
        if logs is not None:
            return logs
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
        return [_parse_line(number, line.strip(), path.name, model) for number, line in lines[: MAX_REQUESTS + 1]]
    signature = choose_signature(model, None)
    return [
        _predict_log(model.name, signature.name, inputs) for inputs in islice(_rows(path, signature), MAX_REQUESTS + 1)
    ]


def _prediction_logs(path: Path) -> list[protos.PredictionLog] | None:
    """The messages of a recording; None if the file holds something else, such as tf.Examples."""
    requests = read_recording(path)
    try:
        first = next(requests, None)
    except InvalidInput as error:
        if error.message.endswith("is not a PredictionLog"):
            return None
        raise
    if first is None:
        return []
    return [first.log, *(request.log for request in islice(requests, MAX_REQUESTS))]


def _parse_line(number: int, line: str, file_name: str, model: ModelMetadata) -> protos.PredictionLog:
    """The request in a line of a `.jsonl` file. Raises InvalidInput with the number of the line."""
    try:
        document = json.loads(line)
    except (RecursionError, ValueError) as error:
        raise InvalidInput(f"line {number} of {file_name} is not JSON: {error}") from error
    is_body = isinstance(document, dict) and document.keys() & {"instances", "inputs", "examples"}
    try:
        signature = choose_signature(model, document.get("signature_name") if is_body else None)
        if is_body and "examples" in document:
            return _example_log(model.name, signature, document)
        inputs = shape_inputs([line], signature) if is_body else shape_lines([line], signature)
    except (InvalidInput, NotFound, ServingError) as error:
        raise InvalidInput(f"line {number} of {file_name}: {error.message}") from error
    return _predict_log(model.name, signature.name, inputs)


def _rows(path: Path, signature: Signature) -> Iterator[dict[str, np.ndarray]]:
    """Each row of a file as inputs of a batch of one."""
    for batch in shape_rows(sources.open_source(str(path), signature), signature):
        for row in range(len(next(iter(batch.arrays.values())))):
            yield {name: array[row : row + 1] for name, array in batch.arrays.items()}


def _predict_log(name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> protos.PredictionLog:
    log = protos.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature or DEFAULT_SIGNATURE
    for alias, array in inputs.items():
        tensors.fill_proto(request.inputs[alias], array)
    return log


def _example_log(name: str, signature: Signature, document: dict[str, object]) -> protos.PredictionLog:
    """A classify request, or a regress request if the signature returns no classes or scores."""
    log = protos.PredictionLog()
    outputs = {spec.name for spec in signature.outputs}
    is_classify = signature.method_name == _CLASSIFY or outputs & {"classes", "scores"}
    request = log.classify_log.request if is_classify else log.regress_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature.name
    request.input.CopyFrom(json_example.input_from_document(document))
    return log
