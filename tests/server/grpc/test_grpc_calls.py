"""Unary gRPC calls that clients must not make, or rarely make: each gets the right status, and the server continues."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from model_servers import Served, running_server
from raw_grpc import PREDICT, Outcome, call, framed, request
from recorded_cases import MODELS

from tfsctl.core import protos
from tfsctl.core.wire_format import encode_varint

pytestmark = pytest.mark.server

OK, INVALID_ARGUMENT, NOT_FOUND = 0, 3, 5
DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 4, 8, 12, 13
MESSAGE = request()
GOOD = framed(MESSAGE)
GZIP, DEFLATE = [(b"grpc-encoding", b"gzip")], [(b"grpc-encoding", b"deflate")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of the recorded models: half_plus_two, and zoo, whose signatures echo tensors of all dtypes."""
    models = {name: MODELS / name for name in ("half_plus_two", "zoo")}
    with running_server(models, tmp_path_factory.mktemp("calls")) as running:
        yield running


@pytest.fixture(autouse=True)
def _still_serves(server: Served) -> Iterator[None]:
    """After each test, a good call is answered."""
    yield
    assert call(server.grpc_port, GOOD).result == OK


def nested(depth: int) -> bytes:
    """A message nested in itself that many times."""
    message = b""
    for _ in range(depth):
        message = b"\x0a" + encode_varint(len(message)) + message
    return message


def status_of(server: Served, body: bytes | None, **options: Any) -> Outcome:
    """The outcome of one call."""
    return call(server.grpc_port, body, **options)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (GOOD, OK),
        (b"\0\xff\xff\xff\xff" + b"x" * 10, INTERNAL),
        (b"\0\0\0\1\0" + b"x" * 10, INTERNAL),
        (None, INTERNAL),
        (b"", INTERNAL),
        (GOOD + GOOD, INTERNAL),
        (GOOD + b"zz", INTERNAL),
        (framed(nested(200)), INTERNAL),
        (framed(b"\xff\xff\xff"), INTERNAL),
        (framed(request("a" * 10**6)), NOT_FOUND),
        (framed(request("a\r\nb: c")), NOT_FOUND),
    ],
    ids=[
        "good",
        "length of 4 GB",
        "length past the body",
        "no body",
        "empty body",
        "two messages",
        "bytes after the message",
        "nested messages",
        "broken message",
        "long model name",
        "line break in the model name",
    ],
)
def test_a_body_that_is_not_exactly_one_message_is_refused(server: Served, body: bytes | None, code: int) -> None:
    """The body of a unary call is one frame around one message."""
    assert status_of(server, body).result == code


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (framed(gzip.compress(MESSAGE), 1), GZIP, OK),
        (framed(zlib.compress(MESSAGE), 1), DEFLATE, OK),
        (GOOD, GZIP, OK),
        (GOOD, [(b"grpc-encoding", b"foo")], OK),
        (framed(MESSAGE, 1), [], INTERNAL),
        (framed(MESSAGE, 1), [(b"grpc-encoding", b"identity")], INTERNAL),
        (framed(MESSAGE, 1), [(b"grpc-encoding", b"foo")], UNIMPLEMENTED),
        (framed(gzip.compress(MESSAGE), 2), GZIP, INTERNAL),
        (framed(b"xxxx", 1), GZIP, INTERNAL),
        (framed(b"", 1), GZIP, INTERNAL),
        (framed(gzip.compress(bytes(101 * 2**20)), 1), GZIP, RESOURCE_EXHAUSTED),
    ],
)
def test_compression_flag_and_grpc_encoding_must_agree(
    server: Served, body: bytes, headers: list[tuple[bytes, bytes]], code: int
) -> None:
    """A message may not expand to more than 100 MB."""
    assert status_of(server, body, headers=headers).result == code


def test_a_truncated_gzip_message_is_reported_as_truncated(server: Served) -> None:
    """It is not mistaken for a message that is too large."""
    outcome = status_of(server, framed(gzip.compress(MESSAGE)[:-5], 1), headers=GZIP)
    assert (outcome.result, outcome.message) == (INTERNAL, "The compressed message is truncated")


@pytest.mark.parametrize(
    ("timeout", "code"),
    [
        (b"0n", DEADLINE_EXCEEDED),
        (b"0H", DEADLINE_EXCEEDED),
        (b"99999999H", OK),
        (b"60S", OK),
        (b"999999999H", INTERNAL),
        (b"-1S", INTERNAL),
        (b"1x", INTERNAL),
        (b"S", INTERNAL),
        (b"", INTERNAL),
    ],
)
def test_malformed_grpc_timeouts_are_refused(server: Served, timeout: bytes, code: int) -> None:
    """A grpc-timeout has at most eight digits and a unit."""
    assert status_of(server, GOOD, headers=[(b"grpc-timeout", timeout)]).result == code


@pytest.mark.parametrize(
    ("content_type", "result"),
    [
        (b"application/grpc", OK),
        (b"application/grpc+proto", OK),
        (b"application/grpc;charset=utf-8", OK),
        (b"Application/gRPC", OK),
        (b"application/grpc+json", "415"),
        (b"application/grpc-web", "415"),
        (b"application/grpcfoo", "415"),
        (b"application/json", "415"),
        (b"", "415"),
    ],
)
def test_only_protobuf_content_types_are_grpc(server: Served, content_type: bytes, result: int | str) -> None:
    """Any other encoding is answered with 415."""
    assert status_of(server, GOOD, content_type=content_type).result == result


@pytest.mark.parametrize(
    "path",
    [
        "/tensorflow.serving.PredictionService/Nope",
        "/tensorflow.serving.PredictionService/%50redict",
        PREDICT + "?x=1",
        PREDICT + "/",
        "/" + PREDICT,
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo?x=1",
    ],
)
def test_paths_are_compared_as_sent(server: Served, path: str) -> None:
    """A path that is not exactly a method's is UNIMPLEMENTED, so a proxy's rule for a method cannot be bypassed."""
    assert status_of(server, GOOD, path=path).result == UNIMPLEMENTED


@pytest.mark.parametrize("path", [PREDICT, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"])
@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS", b"post"])
def test_calls_are_posted(server: Served, method: bytes, path: str) -> None:
    """Other methods are refused in gRPC's words, and nothing is run."""
    refused = status_of(server, GOOD, method=method, path=path)
    assert (refused.result, refused.message, refused.body) == (INTERNAL, "Error parsing ':method' metadata", b"")


def test_accepted_encodings_are_announced(server: Served) -> None:
    """Responses name the compressions that requests may use."""
    for body in (GOOD, b""):
        assert status_of(server, body).headers[b"grpc-accept-encoding"] == b"identity, deflate, gzip"


def test_unusual_metadata_and_trailers_are_accepted(server: Served) -> None:
    """Much metadata, binary metadata that is not base64, and trailers of the client."""
    many = [(b"name-%d" % index, b"v" * 1000) for index in range(50)]
    assert status_of(server, GOOD, headers=many).result == OK
    assert status_of(server, GOOD, headers=[(b"a-bin", b"!!!")]).result == OK
    assert status_of(server, GOOD, trailers=[(b"x", b"y")]).result == OK
    assert status_of(server, GOOD, trailers=[(b":path", b"y")]).result == "reset"


def tensor(dtype: int, shape: list[int], **values: Any) -> protos.TensorProto:
    """A TensorProto of a shape, with values in some of its fields."""
    return protos.TensorProto(dtype=dtype, tensor_shape={"dim": [{"size": size} for size in shape]}, **values)


FLOAT, DOUBLE, INT8, STRING, COMPLEX, BFLOAT16, UINT32 = 1, 2, 6, 7, 8, 14, 22


@pytest.mark.parametrize(
    ("signature", "wrong"),
    [
        ("echo_f32", tensor(FLOAT, [-1], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [-1, -1], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [2**31], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [2**62, 4], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [2**32, 2**32], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [0, 2**62])),
        ("echo_f32", tensor(FLOAT, [0, 2**40, 2**40])),
        ("echo_f32", tensor(FLOAT, [1] * 255, float_val=[1])),
        ("echo_f32", tensor(FLOAT, [1] * 100_000, float_val=[1])),
        ("echo_f32", tensor(FLOAT, [4], tensor_content=bytes(15))),
        ("echo_f32", tensor(FLOAT, [1], tensor_content=bytes(16))),
        ("echo_f32", tensor(STRING, [1], string_val=[b"a"])),
        ("echo_f32", tensor(DOUBLE, [1], double_val=[1])),
        *(("echo_f32", tensor(dtype, [1])) for dtype in (0, 12, 20, 21, 101, 9999, -1)),
        ("echo_str", tensor(STRING, [2**24])),
        ("echo_str", tensor(STRING, [2], tensor_content=b"\xff\xff\xff\xff\x0f")),
        ("echo_str", tensor(STRING, [1], tensor_content=b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
        ("echo_bf16", tensor(BFLOAT16, [1], tensor_content=bytes(3))),
    ],
)
def test_inconsistent_tensors_are_invalid_arguments(server: Served, signature: str, wrong: protos.TensorProto) -> None:
    """Shape, dtype and content that contradict each other or the signature."""
    outcome = status_of(server, framed(request("zoo", signature, x=wrong)))
    assert outcome.result == INVALID_ARGUMENT, outcome.message


@pytest.mark.parametrize(
    ("signature", "odd"),
    [
        ("echo_f32", tensor(FLOAT, [], float_val=[1])),
        ("echo_f32", tensor(FLOAT, [1], float_val=[1, 2, 3])),
        ("echo_f32", tensor(FLOAT, [3])),
        ("echo_i8", tensor(INT8, [1], int_val=[100_000])),
        ("echo_c64", tensor(COMPLEX, [1], scomplex_val=[1])),
        ("echo_u32", tensor(UINT32, [1], uint32_val=[2**32 - 1])),
    ],
)
def test_unusual_tensors_are_read_as_tensorflow_reads_them(
    server: Served, signature: str, odd: protos.TensorProto
) -> None:
    """Scalars, too many or too few values, and values out of the dtype's range are padded, dropped or wrapped."""
    outcome = status_of(server, framed(request("zoo", signature, x=odd)))
    assert outcome.result == OK, outcome.message
