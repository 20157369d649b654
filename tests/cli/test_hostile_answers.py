"""Answers of a server that have been changed at random: whatever they hold, no command ends with a bug."""

from __future__ import annotations

import copy
import http.server
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from cli_runner import RunCli
from http_handlers import serving

from tfsctl.core import protos, tensors
from tfsctl.errors import ExitCode

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, float("inf"), float("nan"), 10**30, "", "1", "DT_FLOAT", "9" * 5000),
    *([], {}, [1], [[1], [2, 3]], {"a": 1}, {"b64": "!"}, ["a", 1], [None], [{"size": "9" * 20}], {"dim": None}),
)
COMMANDS = (
    *(("predict", "1"), ("predict", "1", "2", "--json"), ("predict", "1", "--top", "1"), ("predict", "1", "--dry-run")),
    *(("classify", "x=1"), ("regress", "x=1"), ("metadata",), ("metadata", "--json"), ("status",), ("sample",)),
    ("wait", "m", "--timeout", "0.01"),
)


def _tensor(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}, "name": "x:0"}


def _signature(method: str, inputs: dict[str, str], outputs: dict[str, str]) -> dict[str, Any]:
    return {
        "inputs": {name: _tensor(dtype) for name, dtype in inputs.items()},
        "outputs": {name: _tensor(dtype) for name, dtype in outputs.items()},
        "method_name": f"tensorflow/serving/{method}",
    }


SIGNATURES = {
    "serving_default": _signature("predict", {"x": "DT_FLOAT"}, {"y": "DT_FLOAT", "z": "DT_STRING"}),
    "c": _signature("classify", {"inputs": "DT_STRING"}, {"classes": "DT_STRING", "scores": "DT_FLOAT"}),
    "r": _signature("regress", {"inputs": "DT_STRING"}, {"outputs": "DT_FLOAT"}),
}
STATUS = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
ANSWERS: dict[str, Any] = {
    "metadata": {
        "model_spec": {"name": "m", "signature_name": "", "version": "1"},
        "metadata": {"signature_def": {"signature_def": SIGNATURES}},
    },
    "status": {"model_version_status": [STATUS]},
    "predict": {"outputs": {"y": [1.0], "z": ["a"]}},
    "classify": {"results": [[["a", 0.5], ["b", 0.5]]]},
    "regress": {"results": [0.5]},
}


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    yield place
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from _places(value[key], (*place, key))


def _changed(document: Any, chance: random.Random) -> Any:
    """A document with one value replaced or left out."""
    document = copy.deepcopy(document)
    *path, last = chance.choice(list(_places(document))[1:])
    at = document
    for key in path:
        at = at[key]
    if isinstance(at, dict) and chance.random() < 0.2:
        del at[last]
    else:
        at[last] = chance.choice(VALUES)
    return document


@contextmanager
def _rest_server(answers: dict[str, Any]) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("metadata" if self.path.endswith("/metadata") else "status")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(self.path.rpartition(":")[2])

        def _answer(self, name: str) -> None:
            body = json.dumps(answers[name]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    with serving(Handler) as port:
        yield port


def _check_commands(run_cli: RunCli, change: str, *options: object) -> None:
    for command, *arguments in COMMANDS:
        result = run_cli(command, *arguments, *options, stdin="")
        assert result.code != ExitCode.BUG, (command, change, result.stderr)


@pytest.mark.parametrize("seed", range(4))
def test_changed_json_is_an_error_or_is_printed(run_cli: RunCli, seed: int) -> None:
    """Values of other types, numbers out of range, and missing keys are errors or are printed."""
    chance = random.Random(seed)
    answers = dict(ANSWERS)
    with _rest_server(answers) as port:
        for _ in range(10):
            name = chance.choice(list(ANSWERS))
            answers[name] = _changed(ANSWERS[name], chance)
            options = ("--host", "127.0.0.1", "--port", port, "--model", "m")
            _check_commands(run_cli, json.dumps(answers[name]), *options)
            answers.update(ANSWERS)


@pytest.mark.parametrize(
    "version",
    [{**STATUS, "state": ["a"]}, {**STATUS, "version": float("inf")}, {**STATUS, "status": {"error_code": 1}}],
)
def test_a_status_of_other_types(run_cli: RunCli, version: dict[str, Any]) -> None:
    """A status is text and a number, or an error."""
    with _rest_server(ANSWERS | {"status": {"model_version_status": [version]}}) as port:
        result = run_cli("status", "--host", "127.0.0.1", "--port", port, "--model", "m")
    assert result.code in (ExitCode.OK, ExitCode.FAILED, ExitCode.REJECTED), result.stderr


def _messages() -> dict[str, bytes]:
    """The bytes of a valid answer, by method."""
    signatures = protos.SignatureDefMap()
    signature = signatures.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for info in (signature.inputs["x"], signature.outputs["y"]):
        info.dtype, info.name = 1, "x:0"
        info.tensor_shape.dim.add().size = -1
    metadata = protos.GetModelMetadataResponse()
    metadata.model_spec.name = "m"
    metadata.model_spec.version.value = 1
    metadata.metadata["signature_def"].Pack(signatures)
    status = protos.GetModelStatusResponse()
    status.model_version_status.add(version=1, state=30)
    prediction = protos.PredictResponse()
    prediction.outputs["y"].CopyFrom(tensors.to_proto(np.ones(1, np.float32)))
    answers = {"GetModelMetadata": metadata, "GetModelStatus": status, "Predict": prediction}
    return {name: message.SerializeToString() for name, message in answers.items()}


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]

        def answer(_request: bytes, _context: object) -> bytes:
            return self._answers.get(name, b"")

        return grpc.unary_unary_rpc_method_handler(answer)


def _changed_bytes(message: bytes, chance: random.Random) -> bytes:
    changed = bytearray(message)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(changed))
        changed[at : at + chance.choice((0, 1, 1))] = chance.choice((b"", bytes([chance.randrange(256)])))
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_changed_messages_are_an_error_or_are_printed(run_cli: RunCli, seed: int) -> None:
    """Damaged messages, unknown enum values and impossible tensors are errors or are printed."""
    chance = random.Random(seed)
    valid = _messages()
    answers = dict(valid)
    server = grpc.server(ThreadPoolExecutor(2), handlers=[_Handlers(answers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for _ in range(10):
            name = chance.choice(list(valid))
            answers[name] = _changed_bytes(valid[name], chance)
            _check_commands(
                run_cli, answers[name].hex(), "--grpc", "--host", "127.0.0.1", "--port", port, "--model", "m"
            )
            answers.update(valid)
        answers["GetModelStatus"] = b"\x0a\x04\x08\x01\x10\x7f"  # state 127
        result = run_cli("status", "--grpc", "--host", "127.0.0.1", "--port", port, "--model", "m")
        assert result.code != ExitCode.BUG, result.stderr
    finally:
        server.stop(0).wait()
