"""Measures how long large requests and answers keep other clients waiting.

    python benchmarks/loop_stalls.py [--megabytes 32] [--requests 3] [--cells REGEX]

For each kind of large request: a process sends some of them to an embedded server, whose model answers with what it was
sent, while this process polls a small model over REST. Bursts are many small or medium requests that are written at
once. Prints the size, the seconds per large request, the longest turn of the event loop in CPU time (`turn_probe`), the
longest of the polls, and the largest stalls of the event loop by the server's own histogram. Turns are comparable on a
busy machine, the others are not. The first line, without a large request, is what the machine adds. The memory budget is
raised; with the default one, most of these requests would wait for memory, or be refused.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import mmap
import os
import re
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import orjson
from hpack import Encoder

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.wire_format import encode_varint

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from echo_models import ECHO, write_echo_model
from graph_models import CLASSIFY, REGRESS, GraphModel
from http2_client import (
    DEFAULT_WINDOW,
    END_STREAM,
    MAX_WINDOW,
    PREFACE,
    Kind,
    Setting,
    frame,
    grpc_fields,
    header_frames,
    ping,
    window_update,
)
from http2_client import settings as settings_frame
from model_servers import Served, running_server

SERVICE = "/tensorflow.serving.PredictionService/"
METRICS = "/monitoring/prometheus/metrics"
RANDOM = np.random.default_rng(1)
IDLE_S = 5.0
SMALL = b'{"instances": [1.0]}'
NUMBER = b"NUMBER"  # of the connection, in the bytes of a burst
SIGNATURES = {
    **ECHO,
    "matrix": {"x": ("float32", (None, 100))},
    "texts": {"text": ("string", (None, 10))},
    **{name: {"x": (name, (None,))} for name in ("uint8", "bfloat16", "complex64", "uint64")},
}
Request = tuple[str, str, bytes, str]  # protocol, path, body, compression; of a burst: connections, bytes, requests
Body = dict[str, object]
_TURNS = struct.Struct("3d")


def array_of(dtype: str, nbytes: int) -> np.ndarray:
    """Random values that take about that many bytes as a message."""
    kind = dtypes.BY_NAME[dtype].numpy
    if dtype == "int64":
        return RANDOM.integers(-(2**63), 2**63 - 1, nbytes // 10)
    if dtype == "uint64":
        return RANDOM.integers(0, 2**64 - 1, nbytes // 10, dtype=np.uint64)
    if dtype == "int32":
        return RANDOM.integers(0, 2**31 - 1, nbytes // 5, dtype=np.int32)
    if dtype in ("uint8", "int8", "bool"):
        return RANDOM.integers(0, 2, nbytes).astype(kind)
    return RANDOM.random(nbytes // (2 if kind.itemsize == 2 else 4), dtype=np.float32).astype(kind)


def strings_of(nbytes: int, length: int) -> list[bytes]:
    """Random strings of `length` characters each, about `nbytes` in all as a protobuf or JSON list."""
    count = nbytes // (length + 2)
    text = base64.b64encode(RANDOM.bytes(count * length))
    return [text[at : at + length] for at in range(0, count * length, length)]


def predict(array: np.ndarray, signature: str, *, as_content: bool = False, alias: str = "x") -> Request:
    """A Predict call."""
    message = protos.PredictRequest(model_spec={"name": "echo", "signature_name": signature})
    tensors.fill_proto(message.inputs[alias], array, as_content=as_content)
    return "grpc", SERVICE + "Predict", message.SerializeToString(), ""


def of_dtype(dtype: str, nbytes: int) -> Request:
    """A Predict call with random values."""
    return predict(array_of(dtype, nbytes), dtype)


def classify(method: str, nbytes: int) -> Request:
    """A Classify or Regress call with small examples."""
    request = protos.ClassificationRequest if method == "Classify" else protos.RegressionRequest
    message = request(model_spec={"name": "examples", "signature_name": method.lower()})
    example = protos.Example()
    example.features.feature["x"].float_list.value.extend(RANDOM.random(20).tolist())
    size = example.ByteSize() + 2
    message.input.example_list.examples.extend([example] * (nbytes // size))
    return "grpc", SERVICE + method, message.SerializeToString(), ""


def multi_inference(nbytes: int) -> Request:
    """A MultiInference call that classifies and regresses small examples."""
    message = protos.MultiInferenceRequest()
    message.input.ParseFromString(
        protos.ClassificationRequest.FromString(classify("Classify", nbytes)[2]).input.SerializeToString()
    )
    for name in ("classify", "regress"):
        task = message.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name, task.model_spec.signature_name = "examples", name
    return "grpc", SERVICE + "MultiInference", message.SerializeToString(), ""


def unpacked(array: np.ndarray) -> Request:
    """A Predict call in which each float is a field, as no official client writes them."""
    fields = np.empty((array.size, 5), np.uint8)
    fields[:, 0], fields[:, 1:] = 0x2D, array.view(np.uint8).reshape(-1, 4)  # float_val, 32 bits
    return of_tensor(tensors.to_proto(array[:0]), fields.tobytes(), array.size)


def of_tensor(tensor: protos.TensorProto, fields: bytes, size: int) -> Request:
    """A Predict call whose tensor has `size` values, and these fields after those of `tensor`."""
    tensor.tensor_shape.dim[0].size = size
    spec = protos.PredictRequest(model_spec={"name": "echo", "signature_name": "serving_default"})
    entry = of_length(1, b"x") + of_length(2, tensor.SerializeToString() + fields)
    return "grpc", SERVICE + "Predict", spec.SerializeToString() + of_length(2, entry), ""


def of_length(number: int, content: bytes) -> bytes:
    """A length-delimited field of a message."""
    return encode_varint(number << 3 | 2) + encode_varint(len(content)) + content


def one_example(nbytes: int, *, as_context: bool) -> Request:
    """A Classify call with one example that has very many features, or with such a context."""
    value = of_length(2, of_length(2, of_length(1, bytes(4))))
    features = b"".join([of_length(1, of_length(1, b"%08d" % index) + value) for index in range(nbytes // 22)])
    spec = protos.ClassificationRequest(model_spec={"name": "examples", "signature_name": "classify"})
    listed = of_length(2, of_length(1, b"") + of_length(2, of_length(1, features)))
    if not as_context:
        listed = of_length(1, of_length(1, of_length(1, features)))
    return "grpc", SERVICE + "Classify", spec.SerializeToString() + of_length(2, listed), ""


def rest(signature: str, body: Body, *, model: str = "echo", verb: str = "predict", compression: str = "") -> Request:
    """A REST request."""
    raw = orjson.dumps({"signature_name": signature, **body})
    if compression:
        raw = gzip.compress(raw, 1)
    return "rest", f"/v1/models/{model}:{verb}", raw, compression


def pipelined(body: bytes, count: int, connections: int, fields: bytes = b"") -> Request:
    """A burst: `count` predict requests over HTTP/1.1 on each connection, with these header fields."""
    head = b"POST /v1/models/echo:predict HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (fields, len(body))
    return "http1 burst", str(connections), (head + body) * count, str(count)


def streams(message: bytes, count: int, connections: int, *, pings: int = 0) -> Request:
    """A burst: `pings` PING frames and `count` Predict calls on each connection."""
    data, encoder = b"\0" + len(message).to_bytes(4, "big") + message, Encoder()
    values: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}
    parts = [PREFACE, settings_frame(values), window_update(0, MAX_WINDOW - DEFAULT_WINDOW)]
    parts += [ping()] * pings
    for number in range(1, 2 * count, 2):
        parts.append(header_frames(number, encoder.encode(grpc_fields())))
        parts += [frame(Kind.DATA, 0, number, data[at : at + 16_384]) for at in range(0, len(data), 16_384)]
        parts.append(frame(Kind.DATA, END_STREAM, number))
    return "http2 burst", str(connections), b"".join(parts), str(count)


def texts(values: list[bytes]) -> list[str]:
    """Strings as text."""
    return [value.decode() for value in values]


def in_rows(values: list[str], size: int) -> list[list[str]]:
    """The values as rows of `size` values each; values that fill no whole row are dropped."""
    return [values[at : at + size] for at in range(0, len(values) // size * size, size)]


def cells(size: int) -> dict[str, Callable[[], Request]]:
    """Each kind of large request, made when it is due."""
    many, few = 16, 1_000_000
    numbers = ("float32", "float64", "int64", "int32", "uint8", "bool", "float16", "bfloat16", "uint64", "complex64")
    return {
        **{f"gRPC {dtype}": partial(of_dtype, dtype, size) for dtype in numbers[1:]},
        "gRPC float32": lambda: predict(array_of("float32", size), "serving_default"),
        "gRPC float32 as content": lambda: predict(array_of("float32", size), "serving_default", as_content=True),
        "gRPC int64 as content": lambda: predict(array_of("int64", size), "int64", as_content=True),
        "gRPC many strings": lambda: predict(object_array(strings_of(size, many)), "text", alias="text"),
        "gRPC few strings": lambda: predict(object_array(strings_of(size, few)), "text", alias="text"),
        "gRPC Classify": lambda: classify("Classify", size),
        "gRPC Regress": lambda: classify("Regress", size),
        "gRPC MultiInference": lambda: multi_inference(size),
        "gRPC unpacked float32": lambda: unpacked(array_of("float32", size * 4 // 5)),
        "gRPC unknown fields": lambda: of_tensor(
            tensors.to_proto(np.ones(1, np.float32)), b"\xf8\x0f\x01" * (size // 3), 1
        ),
        "gRPC one example": lambda: one_example(size, as_context=False),
        "gRPC context": lambda: one_example(size, as_context=True),
        "gRPC gzip float32": lambda: (*predict(array_of("float32", size), "serving_default")[:3], "gzip"),
        "REST floats": lambda: rest("serving_default", {"instances": RANDOM.random(size // 20).tolist()}),
        "REST float matrix": lambda: rest("matrix", {"instances": RANDOM.random((size // 2000, 100)).tolist()}),
        "REST float matrix, gzip": lambda: rest(
            "matrix", {"instances": RANDOM.random((size // 2000, 100)).tolist()}, compression="gzip"
        ),
        "REST float column": lambda: rest("serving_default", {"inputs": {"x": RANDOM.random(size // 20).tolist()}}),
        "REST int64": lambda: rest("int64", {"instances": array_of("int64", size // 2).tolist()}),
        "REST small int64": lambda: rest("int64", {"instances": (array_of("int64", size * 3) % 100).tolist()}),
        "REST bool": lambda: rest("bool", {"instances": array_of("bool", size // 6).tolist()}),
        "REST many strings": lambda: rest("text", {"instances": texts(strings_of(size, many))}),
        "REST few strings": lambda: rest("text", {"instances": texts(strings_of(size, few))}),
        "REST string lists": lambda: rest("texts", {"instances": in_rows(texts(strings_of(size, many)), 10)}),
        "REST string lists, gzip": lambda: rest(
            "texts", {"instances": in_rows(texts(strings_of(size, many)), 10)}, compression="gzip"
        ),
        "REST nested lists": lambda: rest("any", {"instances": RANDOM.random((size // 1280, 4, 4, 4)).tolist()}),
        "REST string column": lambda: rest("text", {"inputs": {"text": texts(strings_of(size, many))}}),
        "REST many b64": lambda: rest(
            "text_bytes", {"instances": [{"b64": text} for text in texts(strings_of(min(size, 10_000_000), many))]}
        ),
        "REST few b64": lambda: rest(
            "text_bytes", {"instances": [{"b64": text} for text in texts(strings_of(size, few))]}
        ),
        "REST objects": lambda: rest(
            "two", {"instances": [{"area": 1.5, "city": text} for text in texts(strings_of(size // 2, many))]}
        ),
        "REST classify": lambda: rest(
            "classify",
            {"examples": [{"x": [1.5, 2.5, 3.5], "y": "some text"}] * 100_000},
            model="examples",
            verb="classify",
        ),
        "REST one example": lambda: rest(
            "classify",
            {"examples": [{f"feature {index}": 1.5 for index in range(min(size, 4_000_000) // 22)}]},
            model="examples",
            verb="classify",
        ),
        "REST context": lambda: rest(
            "classify",
            {"context": {f"feature {index}": 1.5 for index in range(min(size, 4_000_000) // 22)}, "examples": [{}]},
            model="examples",
            verb="classify",
        ),
        "2,000 pipelined requests": lambda: pipelined(SMALL, 2000, 1),
        "900 connections": lambda: pipelined(SMALL, 1, 900),
        "900 connections, other heads": lambda: pipelined(SMALL, 1, 900, b"x-connection: %b\r\n" % NUMBER),
        "100 connections, 60 KB": lambda: pipelined(orjson.dumps({"instances": RANDOM.random(3000).tolist()}), 1, 100),
        "100 connections, 400 KB": lambda: pipelined(
            orjson.dumps({"instances": RANDOM.random(20_000).tolist()}), 1, 100
        ),
        "1,000 streams": lambda: streams(predict(array_of("float32", 40), "serving_default")[2], 1000, 1),
        "100 streams on 100 connections": lambda: streams(
            predict(array_of("float32", 40), "serving_default")[2], 100, 100
        ),
        "1,000 pings on 100 connections": lambda: streams(
            predict(array_of("float32", 40), "serving_default")[2], 1, 100, pings=1000
        ),
        "200 streams, 60 KB": lambda: streams(predict(array_of("float32", 60_000), "serving_default")[2], 200, 1),
        "REST not JSON": lambda: ("rest", "/v1/models/echo:predict", b'{"instances": [' + b'"a\\", ' * (size // 6), ""),
    }


def write_examples_model(version_dir: Path) -> None:
    """Classifies and regresses examples by their length."""
    model = GraphModel()
    model.input("examples", "string", (-1,))
    model.op("StringLength", "length", "examples")
    model.op("Cast", "score", "length", SrcT="int32", DstT="float32")
    model.constant("axis", np.array(1, np.int32))
    model.op("ExpandDims", "scores", "score", "axis", T="float32", Tdim="int32")
    model.op("AsString", "classes", "scores", T="float32")
    model.signature(
        {"inputs": "examples string"},
        {"scores": "scores", "classes": "classes string"},
        name="classify",
        method=CLASSIFY,
    )
    model.signature({"inputs": "examples string"}, {"outputs": "score"}, name="regress", method=REGRESS)
    model.write(version_dir)


class Burst:
    """One connection of a burst, and how many answers it waits for."""

    def __init__(self, address: str, data: bytes, answers: int, *, is_http2: bool) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.unsent, self._received, self.answers, self._is_http2 = memoryview(data), bytearray(), answers, is_http2

    def write(self) -> None:
        """Send as much as the server takes now."""
        with suppress(BlockingIOError):
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent, socket.MSG_DONTWAIT) :]

    def read(self) -> None:
        """Read answers, which end with the last byte of a body (HTTP/1.1) or with END_STREAM."""
        self._received += self.socket.recv(2**20) or sys.exit("the server closed a connection")
        while (end := self._end_of_frame() if self._is_http2 else self._end_of_response()) is not None:
            del self._received[:end]

    def _end_of_frame(self) -> int | None:
        data = self._received
        end = 9 + int.from_bytes(data[:3], "big")
        if len(data) < 9 or len(data) < end:
            return None
        self.answers -= data[3] == Kind.RST_STREAM or (data[3] <= Kind.HEADERS and data[4] & END_STREAM)
        return end

    def _end_of_response(self) -> int | None:
        head = self._received.find(b"\r\n\r\n") + 4
        length = re.search(rb"content-length: (\d+)", self._received[:head])
        if head < 4 or length is None or len(self._received) < head + int(length[1]):
            return None
        self.answers -= 1
        return head + int(length[1])


def send_burst(address: str, connections: int, answers: int, data: bytes, *, is_http2: bool) -> None:
    """Send the same bytes on each connection at once, but for its number, and wait for all answers."""
    bursts = [
        Burst(address, data.replace(NUMBER, b"%06d" % index), answers, is_http2=is_http2)
        for index in range(connections)
    ]
    with selectors.DefaultSelector() as selector:
        for burst in bursts:
            selector.register(burst.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, burst)
        while selector.get_map():
            for key, events in selector.select():
                burst = key.data
                if events & selectors.EVENT_WRITE:
                    burst.write()
                    if not burst.unsent:
                        selector.modify(burst.socket, selectors.EVENT_READ, burst)
                if events & selectors.EVENT_READ:
                    burst.read()
                if not burst.answers:
                    selector.unregister(burst.socket)
                    burst.socket.close()


def send(protocol: str, address: str, path: str, compression: str, count: int, body: bytes) -> None:
    """Send a request `count` times, and print how many seconds each took. Runs in a separate process."""
    if protocol == "grpc":
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(address, limits) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            how = grpc.Compression.Gzip if compression else grpc.Compression.NoCompression
            for _ in range(count):
                start_s = time.perf_counter()
                call(body, compression=how, timeout=600)
                print(time.perf_counter() - start_s, flush=True)
        return
    if "burst" in protocol:
        for _ in range(count):
            start_s = time.perf_counter()
            send_burst(address, int(path), int(compression), body, is_http2="http2" in protocol)
            print(time.perf_counter() - start_s, flush=True)
        return
    connection = http.client.HTTPConnection(address, timeout=600)
    for _ in range(count):
        start_s = time.perf_counter()
        connection.request("POST", path, body, {"content-encoding": compression} if compression else {})
        response = connection.getresponse()
        answer = response.read()
        print(time.perf_counter() - start_s, flush=True)
        if response.status != 200:
            print(f"# {response.status} {answer[-300:]!r}", file=sys.stderr)


def stalls(connection: http.client.HTTPConnection) -> dict[float, int]:
    """The server's histogram of stalls: cumulated counts by the upper end of the bucket in microseconds."""
    connection.request("GET", METRICS)
    page = connection.getresponse().read().decode()
    found = re.findall(r'event_loop_stall_usecs_bucket\{le="([^"]+)"\} (\d+)', page)
    return {float(limit): int(count) for limit, count in found}


def largest_stall(before: dict[float, int], after: dict[float, int]) -> str:
    """How many stalls of more than 10 ms there were, and the bucket of the largest."""
    limits = sorted(after)
    counts = [after[limit] - before.get(limit, 0) for limit in limits]
    if not counts or not counts[-1]:
        return "none"
    largest = next(limit for limit, count in zip(limits, counts, strict=True) if count == counts[-1])
    over = counts[-1] - counts[limits.index(10_000)]
    return f"<= {largest / 1e3:g} ms ({over} over 10)"


def measure(server: Served, turns: Turns, request: Request, count: int, folder: Path) -> str:
    """One line of the table."""
    protocol, path, body, compression = request
    file = folder / "body"
    file.write_bytes(body)
    port = server.grpc_port if protocol in ("grpc", "http2 burst") else server.rest_port
    argv = [sys.executable, __file__, "--send", protocol, f"{server.host}:{port}", path, compression, str(count)]
    with subprocess.Popen([*argv, str(file)], stdout=subprocess.PIPE, text=True) as sender:
        waits = polled(server, turns, lambda: sender.poll() is not None)
        took = [float(line) for line in sender.stdout or ()]
    return f"{len(body) / 2**20:6.1f} MiB  {min(took):7.3f} s   {waits}" if len(took) == count else "failed"


class Turns:
    """The turns of the server's event loop, which the server writes to a file (`turn_probe`)."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_TURNS.size))
        path = os.pathsep.join((str(Path(__file__).parent / "turn_probe"), os.environ.get("PYTHONPATH", "")))
        self.environment = {"PYTHONPATH": path.rstrip(os.pathsep), "TURNS_FILE": str(file)}
        with file.open("r+b") as opened:
            self._values = mmap.mmap(opened.fileno(), _TURNS.size)

    def report(self) -> str:
        """The longest turn since the last report, the most of the loop's own thread, and how many took more than 10 ms."""
        longest_s, over, own_s = _TURNS.unpack(self._values[:])
        self._values[:] = bytes(_TURNS.size)
        return f"turn {longest_s * 1e3:5.1f} ms (loop {own_s * 1e3:5.1f}, {over:.0f} over 10)"


def polled(server: Served, turns: Turns, is_over: Callable[[], bool]) -> str:
    """The waits of a client with small requests, and the stalls meanwhile."""
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=600)
    before, waits = stalls(connection), []
    turns.report()
    while not is_over():
        start_s = time.perf_counter()
        connection.request("POST", "/v1/models/echo:predict", SMALL)
        connection.getresponse().read()
        waits.append((time.perf_counter() - start_s) * 1e3)
        time.sleep(0.001)
    waits.sort()
    after = largest_stall(before, stalls(connection))
    polls = f"p99 {waits[int(len(waits) * 0.99)]:6.1f} ms   longest {waits[-1]:6.1f} ms"
    return f"{turns.report()}   {polls}   stalls {after}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=32)
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--cells", default="")
    parser.add_argument("--send", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.send:
        protocol, address, path, compression, count, file = options.send
        send(protocol, address, path, compression, int(count), Path(file).read_bytes())
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_echo_model(folder / "echo" / "1", SIGNATURES)
        write_examples_model(folder / "examples" / "1")
        config = folder / "monitoring.config"
        config.write_text("prometheus_config { enable: true }")
        flags = [f"--monitoring_config_file={config}", "--max_held_megabytes=4096", "--rest_api_timeout_in_ms=0"]
        models = {name: folder / name for name in ("echo", "examples")}
        turns = Turns(folder / "turns")
        with running_server(models, folder, turns.environment, flags) as server:
            polled(server, turns, iter((False, True)).__next__)  # the first request takes longer
            end_s = time.perf_counter() + IDLE_S
            print(f"{'no large request':51}{polled(server, turns, lambda: time.perf_counter() > end_s)}", flush=True)
            for name, make in cells(options.megabytes * 2**20).items():
                if re.search(options.cells, name):
                    print(f"{name:26}{measure(server, turns, make(), options.requests, folder)}", flush=True)


if __name__ == "__main__":
    main()
