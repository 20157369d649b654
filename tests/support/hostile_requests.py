"""Hostile requests: recorded ones mutated, and noise, for both protocols. The same seed gives the same requests."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import text_format

sys.path.append(str(Path(__file__).parents[1] / "conformance"))

from grpc_caller import METHODS
from recorded_cases import MODELS, RestCase, grpc_cases, rest_cases
from rest_caller import request_bytes

from tfsctl.core import protos

_RELOAD = "HandleReloadConfigRequest"  # a mutated one may well take the models away
_SLOW = "slow"  # the signature that computes for a second
_JSON_NOISE = (
    *(
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0",
        b"18446744073709551616",
        b"0.1e-400",
        b'""',
        b"[]",
        b"{}",
    ),
    *(
        b'"\\ud800"',
        b'"\\u0000"',
        b"\x00",
        b"\xff\xfe",
        b"[" * 2000,
        b'{"a":' * 500,
        b'{"b64":"!"}',
        b'{"b64":"AAAA"}',
        b",",
    ),
    *(b'"instances"', b'"inputs"', b'"examples"', b'"signature_name"', b"/*", b"\\", b"]" * 50, b"9" * 400, b'"' * 3),
)
_PATH_NOISE = (
    "%00",
    "%ff",
    "%",
    "..",
    "/",
    "//",
    ":",
    ":predict",
    "/versions/9" + "9" * 30,
    "/labels/",
    "?",
    "#",
    "~" * 9000,
)
_HEADER_NOISE = (
    ("Content-Encoding", "gzip"),
    ("Transfer-Encoding", "chunked"),
    ("Content-Length", "99999999999"),
    ("Content-Type", "application/grpc"),
    ("Expect", "100-continue"),
    ("X-Long", "x" * 5000),
    ("Connection", "Upgrade, HTTP2-Settings"),
    ("Upgrade", "websocket"),
    ("TE", "trailers"),
)
_SIGNATURES = (
    *(
        f"echo_{kind}"
        for kind in ("f32", "f64", "f16", "bf16", "i8", "u16", "u64", "b", "str", "c64", "any", "2d", "str_2d")
    ),
    *(
        "",
        "two_in",
        "two_in_out",
        "out_mismatch",
        "out_scalar",
        "nan_f16",
        "bin_out",
        "examples",
        "image_bytes",
        "raise_op",
    ),
    *("tf2_classify", "tf2_regress", "regress_x_to_y", "classify_labels", "__saved_model_init_op", "fixed_batch"),
)
_INPUTS = ("x", "a", "b", "s", "inputs", "x_bytes", "text", "image_bytes", "", "y\0")
_NAMES = ("", "..", "../../etc/passwd", "/etc", "a\nb", "\0", "é" * 300, "%s%n", "y")
_DIMS = (0, -1, 1, 3, 255, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_VALUES: tuple[object, ...] = (
    *(0, 1, -1, 1.5, -0.0, 1e300, 2**63, 2**64, -(2**63), 255, 256, 2**31, 1e-320, 123456789.123456789, float("nan")),
    *(True, False, None, "", "a", "é", "\0", "\udc80", {"b64": "YQ=="}, {"b64": "!"}, {"b64": 5}, {}, [], "x" * 3000),
)
_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass(frozen=True)
class GrpcCall:
    """A path, a message (not necessarily one) and metadata for it."""

    path: str
    message: bytes
    metadata: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=None)
def _rest_originals() -> tuple[RestCase, ...]:
    return tuple(c for c in rest_cases() if not c.is_about_http and _SLOW.encode() not in (c.body or b""))


@lru_cache(maxsize=None)
def _grpc_originals() -> tuple[GrpcCall, ...]:
    calls = {}
    for case in grpc_cases():
        if case.method in METHODS and case.method != _RELOAD and _SLOW not in case.request:
            service, request_type, _ = METHODS[case.method]
            message = text_format.Parse(case.request.replace("{MODELS}", str(MODELS)), getattr(protos, request_type)())
            calls[case.method, case.request] = GrpcCall(service + case.method, message.SerializeToString())
    return tuple(calls.values())


class Hostile:
    """A source of hostile requests."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def rest(self, host: str) -> bytes:
        """An HTTP/1.1 request that is well-formed as such: a mutated body, path or header."""
        pick = self._random.choice
        case = pick(_rest_originals())
        body = case.body
        if body is not None:
            body = self._document() if self._random.random() < 0.4 else self._mutated(body, _JSON_NOISE)
        path, headers = case.path, case.headers
        if self._random.random() < 0.1:
            at = self._random.randrange(len("/v1/models/"), len(path) + 1) if path.startswith("/v1/models/") else 0
            path = path[:at] + pick([noise for noise in _PATH_NOISE if len(noise) < 100]) + path[at:]
        return request_bytes(replace(case, body=body, path=path, headers=headers), host)

    def broken_http(self, host: str) -> bytes:
        """Something like an HTTP/1.1 request: noise in its head, its headers, its length, or nothing but noise."""
        case = self._random.choice(_rest_originals())
        noise = self._random.choice(_PATH_NOISE)
        headers = (*case.headers, self._random.choice(_HEADER_NOISE))
        raw = request_bytes(replace(case, headers=headers, path=case.path + noise), host)
        choice = self._random.random()
        if choice < 0.1:
            return self._random.randbytes(self._random.randrange(1, 300))
        return raw if choice < 0.4 else self._mutated(raw, (b"\r\n", b"\0", b": ", b"\r\n\r\n", b"HTTP/9.9", b" "))

    def grpc(self) -> GrpcCall:
        """A gRPC call whose message is mutated, cut short, another method's, or noise."""
        pick = self._random.choice
        call = pick(_grpc_originals())
        choice = self._random.random()
        if choice < 0.1:
            message = self._random.randbytes(self._random.randrange(200))
        elif choice < 0.2:
            message = pick(_grpc_originals()).message
        elif choice < 0.6:
            return self._changed(call)
        else:
            message = self._mutated(
                call.message, (b"\xff" * 10, b"\0", b"\x0a\xff\xff\xff\xff\x07", b"\x08\xff\xff\xff\xff\xff\x01")
            )
        return replace(call, message=message)

    def _document(self) -> bytes:
        """A predict body with a signature, and values of any kind for it."""
        pick = self._random.choice
        form = pick(("instances", "inputs", "examples"))
        document = {"signature_name": pick(_SIGNATURES), form: self._value(pick((0, 1, 1, 2, 3)))}
        return json.dumps(document).encode("utf-8", "surrogatepass")

    def _value(self, depth: int) -> object:
        pick = self._random.choice
        if not depth:
            return pick(_VALUES)
        if self._random.random() < 0.3:
            return {name: self._value(depth - 1) for name in self._random.sample(_INPUTS, self._random.randrange(3))}
        return [self._value(depth - 1) for _ in range(self._random.randrange(4))]

    def _changed(self, call: GrpcCall) -> GrpcCall:
        """A message that parses, with tensors, names and versions that make little sense."""
        pick = self._random.choice
        request = protos.PredictRequest()
        request.model_spec.name = pick(("zoo", "zoo", "zoo", "half_plus_two", "amazon_review", *_NAMES))
        request.model_spec.signature_name = pick((*_SIGNATURES, *_NAMES))
        if self._random.random() < 0.1:
            request.model_spec.version.value = pick(_DIMS)
        elif self._random.random() < 0.1:
            request.model_spec.version_label = pick(_NAMES)
        for name in self._random.sample(_INPUTS, pick((0, 1, 1, 1, 2))):
            self._fill_tensor(request.inputs[name])
        if self._random.random() < 0.1:
            request.output_filter.extend((pick(_NAMES), "y"))
        return replace(call, path=_PREDICT, message=request.SerializeToString())

    def _fill_tensor(self, tensor: Any) -> None:
        pick = self._random.choice
        tensor.dtype = pick((1, 1, 2, 3, 4, 5, 6, 7, 7, 8, 9, 10, 14, 17, 18, 19, 20, 21, 22, 23, 24, 29, 101))
        for _ in range(pick((0, 1, 1, 1, 2, 3, 70, 260))):
            tensor.tensor_shape.dim.add(size=pick((1, 1, 1, 2, *_DIMS)))
        tensor.tensor_shape.unknown_rank = self._random.random() < 0.05
        if self._random.random() < 0.3:
            tensor.tensor_content = self._random.randbytes(pick((1, 2, 4, 8, 16, 100)))
        for _ in range(pick((0, 1, 2, 5))):
            tensor.float_val.append(pick((0.0, 1.5, -1e38, float("inf"), float("nan"))))
            tensor.double_val.append(pick((0.0, 1.5, -1e308, float("nan"))))
            tensor.int_val.append(pick((0, 1, -1, 2**31 - 1)))
            tensor.int64_val.append(pick((0, -1, 2**63 - 1)))
            tensor.string_val.append(pick((b"", b"a", b"\xff\x00", b"x" * 1000)))
            tensor.half_val.append(pick((0, -1, 70000)))
            tensor.bool_val.append(pick((False, True)))
            tensor.scomplex_val.append(1.5)
            tensor.uint32_val.append(pick((0, 2**32 - 1)))
            tensor.uint64_val.append(pick((0, 2**64 - 1)))

    def broken_http2(self) -> bytes:
        """An HTTP/2 connection's beginning, followed by frames that nobody would send."""
        frames = [bytes(9)[:3] + b"\x04" + bytes(5)]
        for _ in range(self._random.randrange(1, 8)):
            payload = self._random.randbytes(self._random.randrange(60))
            kind, flags = self._random.randrange(12), self._random.randrange(256)
            stream = self._random.choice((0, 1, 3, 2**31 - 1))
            frames.append(len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload)
        return self._mutated(_PREFACE + b"".join(frames), (b"\0", b"\xff" * 9)) if frames else _PREFACE

    def _mutated(self, data: bytes, noise: tuple[bytes, ...]) -> bytes:
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            data = self._random.choice(self._mutations())(data, noise)
        return data

    def _mutations(self) -> tuple[Callable[[bytes, tuple[bytes, ...]], bytes], ...]:
        return self._flip, self._insert, self._cut, self._repeat, self._end, self._overwrite

    def _at(self, data: bytes) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip(self, data: bytes, _noise: tuple[bytes, ...]) -> bytes:
        at = self._at(data)
        return data[:at] + bytes(byte ^ 1 << self._random.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]

    def _insert(self, data: bytes, noise: tuple[bytes, ...]) -> bytes:
        at = self._at(data)
        return data[:at] + self._random.choice(noise) + data[at:]

    def _overwrite(self, data: bytes, noise: tuple[bytes, ...]) -> bytes:
        at, piece = self._at(data), self._random.choice(noise)
        return data[:at] + piece + data[at + len(piece) :]

    def _cut(self, data: bytes, _noise: tuple[bytes, ...]) -> bytes:
        at = self._at(data)
        return data[:at] + data[at + self._random.randrange(1, 20) :]

    def _end(self, data: bytes, _noise: tuple[bytes, ...]) -> bytes:
        return data[: self._at(data)]

    def _repeat(self, data: bytes, _noise: tuple[bytes, ...]) -> bytes:
        at = self._at(data)
        return data[:at] + data[at : at + 30] * self._random.choice((2, 3, 50)) + data[at:]
