"""A fake model server, in threads of the test, whose REST and gRPC answers are seeded mutations of valid ones."""

from __future__ import annotations

import copy
import http.server
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from http_handlers import serving

from tfsctl.core import protos

ODD_VALUES: list[Any] = [
    *(None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), "", "x", "\ud800", "\x00", "9" * 5000, "1e5", -(2**64)),
    *([], {}, [[]], [None], {"b64": "!"}, {"b64": 3}, [[1], [2, 3]], [1, "a"], [[[[1]]]], {"": {}}),
]
_STATUSES = [200] * 12 + [204, 301, 400, 401, 404, 407, 412, 415, 429, 500, 502, 503, 504, 599]
_TENSORS = {
    "x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}, "name": "x:0"},
    "t": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}, "name": "t:0"},
}
_SIGNATURE = {"inputs": _TENSORS, "outputs": _TENSORS, "method_name": "tensorflow/serving/predict"}
_ONE = {"inputs": {"inputs": _TENSORS["t"]}, "method_name": "tensorflow/serving/classify"}
METADATA: dict[str, Any] = {
    "model_spec": {"name": "m", "signature_name": "", "version": "3"},
    "metadata": {
        "signature_def": {
            "signature_def": {
                "serving_default": _SIGNATURE,
                "classify": {**_ONE, "outputs": {"scores": _TENSORS["x"]}},
                "regress": {**_ONE, "outputs": {"outputs": _TENSORS["x"]}, "method_name": "tensorflow/serving/regress"},
            }
        }
    },
}
_ANSWERS: dict[str, Any] = {
    ":predict": {"outputs": {"x": [1.5], "t": ["a"]}},
    ":classify": {"results": [[["a", 0.5], ["b", 0.5]]]},
    ":regress": {"results": [1.5]},
    "/metadata": METADATA,
    "": {
        "model_version_status": [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]
    },
}


@dataclass
class Mutations:
    """The source of all mutations. `metadata_too` mutates the metadata as well, which most requests need first."""

    random: random.Random
    metadata_too: bool = True

    def document(self, document: Any) -> Any:
        """The document with a few values replaced, removed or added."""
        document = copy.deepcopy(document)
        for _ in range(self.random.choice([0, 1, 1, 2, 4])):
            self._mutate(document)
        return document

    def body(self, document: Any) -> bytes:
        """The document as JSON that may be damaged."""
        text = json.dumps(self.document(document))
        kind = self.random.randrange(14)
        if kind == 0:
            text = text[: self.random.randrange(len(text))]
        if kind == 1:
            text = "[" * 100_000
        if kind == 2:
            text = json.dumps(self.random.choice(ODD_VALUES))
        if kind == 3:
            return text.encode() + bytes(self.random.randrange(256) for _ in range(20))
        return b"" if kind == 4 else text.encode()

    def message(self, content: bytes) -> bytes:
        """A serialized message with some bytes changed."""
        changed = bytearray(content)
        for _ in range(self.random.choice([0, 0, 1, 3, 10])):
            if changed:
                changed[self.random.randrange(len(changed))] = self.random.randrange(256)
        return bytes(changed[: self.random.randrange(len(changed) + 1)] if self.random.random() < 0.1 else changed)

    def _mutate(self, document: Any) -> None:
        if not document:
            return
        places = [document]
        for place in places:
            places += [
                one
                for one in (place.values() if isinstance(place, dict) else place)
                if isinstance(one, (dict, list)) and one
            ]
        place = self.random.choice(places)
        key = self.random.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if self.random.random() < 0.2:
            del place[key]
        else:
            place[key] = copy.deepcopy(self.random.choice(ODD_VALUES))


@contextmanager
def mutating_rest(mutations: Mutations) -> Iterator[int]:
    """The port of a REST server with these answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_metadata = self.path.endswith("/metadata")
            self._answer("/metadata" if is_metadata else "", intact=is_metadata and not mutations.metadata_too)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer(":" + self.path.rpartition(":")[2], intact=False)

        def _answer(self, kind: str, *, intact: bool) -> None:
            document = _ANSWERS.get(kind, {})
            status = 200 if intact else mutations.random.choice(_STATUSES)
            if status >= 400 and mutations.random.random() < 0.5:
                document = {"error": "Servable not found for request: Latest(m)"}
            body = json.dumps(document).encode() if intact else mutations.body(document)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
            """Say nothing."""

    with serving(Handler) as port:
        yield port


@contextmanager
def mutating_grpc(mutations: Mutations) -> Iterator[int]:
    """The port of a gRPC server with these answers."""
    messages = _grpc_messages()

    def handler(service: str) -> grpc.GenericRpcHandler:
        def method(name: str) -> grpc.RpcMethodHandler[bytes, bytes]:
            def run(_request: bytes, context: grpc.ServicerContext) -> bytes:
                intact = name == "GetModelMetadata" and not mutations.metadata_too
                if not intact and mutations.random.random() < 0.2:
                    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
                    context.abort(mutations.random.choice(codes), mutations.random.choice(["", "é\n\x00", "no model"]))
                return messages[name] if intact else mutations.message(messages[name])

            return grpc.unary_unary_rpc_method_handler(run)

        return grpc.method_handlers_generic_handler(service, {name: method(name) for name in messages})

    services = [handler(f"tensorflow.serving.{name}") for name in ("PredictionService", "ModelService")]
    server = grpc.server(ThreadPoolExecutor(2), handlers=services)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


def _grpc_messages() -> dict[str, bytes]:
    signatures = protos.SignatureDefMap()
    for name, (input_name, dtype, output, method) in {
        "serving_default": ("x", 1, "x", "predict"),
        "classify": ("inputs", 7, "scores", "classify"),
        "regress": ("inputs", 7, "outputs", "regress"),
    }.items():
        definition = signatures.signature_def[name]
        definition.method_name = f"tensorflow/serving/{method}"
        for infos, key, number in ((definition.inputs, input_name, dtype), (definition.outputs, output, 1)):
            infos[key].name, infos[key].dtype = f"{key}:0", number
            infos[key].tensor_shape.dim.add(size=-1)
    metadata = protos.GetModelMetadataResponse()
    metadata.model_spec.name, metadata.model_spec.version.value = "m", 3
    metadata.metadata["signature_def"].Pack(signatures)
    predict = protos.PredictResponse()
    predict.model_spec.name, predict.model_spec.version.value = "m", 3
    predict.outputs["x"].dtype = 1
    predict.outputs["x"].tensor_shape.dim.add(size=1)
    predict.outputs["x"].float_val.append(1.5)
    classify, regress = protos.ClassificationResponse(), protos.RegressionResponse()
    classify.result.classifications.add().classes.add(label="a", score=0.5)
    regress.result.regressions.add(value=1.5)
    status = protos.GetModelStatusResponse()
    status.model_version_status.add(version=3, state=30)
    found = {
        "GetModelMetadata": metadata,
        "Predict": predict,
        "Classify": classify,
        "Regress": regress,
        "GetModelStatus": status,
        "MultiInference": protos.MultiInferenceResponse(),
    }
    return {name: bytes(message.SerializeToString()) for name, message in found.items()}
