"""The recorded cases as values: requests to TensorFlow Serving, and its answers."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from locations import RECORDED

MODELS = RECORDED / "models"
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RestCase:
    """One HTTP request and its answer. `is_about_http` marks odd verbs, paths and connections."""

    name: str
    server: str
    method: str
    path: str
    http_version: str
    headers: Headers
    body: bytes | None
    status: int
    answer_headers: Headers
    answer: bytes
    is_about_http: bool

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class GrpcCase:
    """One gRPC call and its answer, messages as text protos with `{MODELS}` for the folder of the models.

    A `method` that starts with a slash takes and returns bytes. Cases of a `sequence` change the server's state and
    are replayed in order. An `is_unstable` answer varied between two runs of TensorFlow Serving.
    """

    name: str
    server: str
    method: str
    request: str
    timeout_s: float
    code: str
    details: str
    response: str
    sequence: str
    is_unstable: bool

    def __str__(self) -> str:
        return self.name

    @property
    def group(self) -> str:
        """The name shared by cases that were sent at the same moment; empty for one that was sent alone."""
        match = re.fullmatch(r"(.*) #\d+", self.name)
        return match[1] if match else ""


@dataclass(frozen=True, slots=True)
class StartCase:
    """One command line: `exit_code` is None if the server still ran after a few seconds; `ports` tells which answered."""

    name: str
    arguments: tuple[str, ...]
    exit_code: int | None
    open_ports: frozenset[str]
    closed_ports: frozenset[str]
    stdout: str

    def __str__(self) -> str:
        return self.name


def rest_cases() -> list[RestCase]:
    """Every REST case of every server, in the order of recording."""
    return [_rest_case(raw) for name in ("rest.jsonl", "more/rest.jsonl") for raw in _lines(name)]


def grpc_cases() -> list[GrpcCase]:
    """Every gRPC case of every server, in the order of recording."""
    return [_grpc_case(raw) for name in ("grpc.jsonl", "more/grpc.jsonl") for raw in _lines(name)]


def start_cases() -> list[StartCase]:
    """Every command line."""
    return [
        StartCase(
            raw["case"],
            tuple(raw["args"]),
            raw["exit_code"],
            frozenset(port for port, state in raw["ports"].items() if state == "open"),
            frozenset(port for port, state in raw["ports"].items() if state != "open"),
            raw["stdout"],
        )
        for raw in _lines("startup.jsonl")
    ]


def _lines(name: str) -> Iterator[dict[str, Any]]:
    with (RECORDED / name).open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def _rest_case(raw: dict[str, Any]) -> RestCase:
    request, reply = raw["request"], raw["reply"]
    return RestCase(
        raw["case"],
        raw["server"],
        request["method"],
        request["path"],
        request["http"],
        _headers(request["headers"]),
        _bytes(request["body"]),
        reply["status"],
        _headers(reply["headers"]),
        _bytes(reply["body"]) or b"",
        raw.get("http", False),
    )


def _grpc_case(raw: dict[str, Any]) -> GrpcCase:
    return GrpcCase(
        raw["case"],
        raw["server"],
        raw["method"],
        raw["request"],
        raw.get("timeout", 20.0),
        raw["code"],
        raw["details"],
        raw.get("response") or "",
        raw.get("sequence", ""),
        raw.get("unstable", False),
    )


def _headers(pairs: list[list[str]]) -> Headers:
    return tuple((name, value) for name, value in pairs)


def _bytes(value: str | dict[str, str] | None) -> bytes | None:
    """A recorded body: text, or `{"b64": …}` where it is not UTF-8."""
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return None if value is None else value.encode()
