"""Send hostile requests to a running server from several threads, and note whatever must not happen."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
from hostile_requests import GrpcCall, Hostile
from model_servers import Served, cpu_s

ANSWER_S = 240.0  # an answer that takes longer never comes
PROMPT_CPU_S = 8.0
PAUSE_S = 0.2  # how long a broken request waits for a word before it is given up
SHARES = {"rest": 45, "grpc": 35, "broken http": 12, "broken http2": 8}
_NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass
class Findings:
    """The number of answers of each kind, and the problems: hangs, broken connections, errors without a message."""

    answers: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, how: str) -> None:
        """Count an answer."""
        with self.lock:
            self.answers[how] += 1

    def wrong(self, what: str) -> None:
        """Note a problem."""
        with self.lock:
            self.problems.append(what)


def fuzz(server: Served, count: int, *, seed: int, threads: int = 4) -> Findings:
    """Send `count` requests, shared among threads."""
    findings = Findings()
    workers = [
        threading.Thread(target=_work, args=(server, count // threads, seed * 1000 + number, findings))
        for number in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return findings


def _work(server: Served, count: int, seed: int, findings: Findings) -> None:
    hostile, shares = Hostile(seed), random.Random(seed)
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=_NO_LIMITS) as channel:
        send: dict[str, Callable[[], None]] = {
            "rest": lambda: ask_rest(server, hostile.rest(f"{server.host}:{server.rest_port}"), findings),
            "grpc": lambda: ask_grpc(channel, hostile.grpc(), findings),
            "broken http": lambda: say(server.host, server.rest_port, hostile.broken_http("x"), findings),
            "broken http2": lambda: say(server.host, server.grpc_port, hostile.broken_http2(), findings),
        }
        for _ in range(count):
            send[shares.choices(list(SHARES), list(SHARES.values()))[0]]()


def ask_rest(server: Served, request: bytes, findings: Findings) -> None:
    """A well-formed HTTP request has an answer in time, and if that is a 500 it says what happened."""
    shown = f"REST {request[:400]!r}"
    try:
        with socket.create_connection((server.host, server.rest_port), timeout=ANSWER_S) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection)
            response.begin()
            body = response.read()
            response.close()
    except (OSError, http.client.HTTPException) as error:
        findings.wrong(f"{shown}: no answer: {error!r}")
        return
    findings.answered(f"REST {response.status}")
    if response.status >= 500 and not _has_message(body):
        findings.wrong(f"{shown}: {response.status} without a message: {body[:200]!r}")
    elif response.status == 500:
        findings.answered(f"REST 500 {json.loads(body)['error'][:100]}")


def _has_message(body: bytes) -> bool:
    try:
        return bool(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.startswith(b"<HTML>")


def ask_grpc(channel: grpc.Channel, call: GrpcCall, findings: Findings) -> None:
    """A gRPC call has an answer in time, over the same connection, and an internal error says what happened."""
    try:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(call.path)
        method(call.message, timeout=ANSWER_S, metadata=call.metadata)
    except grpc.RpcError as error:
        code, details = error.code(), error.details() or ""
        findings.answered(f"gRPC {code.name}")
        if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            findings.wrong(f"{call}: {code.name} {details}")
        elif code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
            findings.answered(f"gRPC {code.name} {details[:100]}")
            if not details:
                findings.wrong(f"{call}: {code.name} without a message")
    else:
        findings.answered("gRPC OK")


def say(host: str, port: int, noise: bytes, findings: Findings) -> None:
    """Send bytes that may not be a request, read for a moment, and close: the connection must end."""
    try:
        with socket.create_connection((host, port), timeout=ANSWER_S) as connection:
            connection.sendall(noise)
            connection.settimeout(PAUSE_S)
            try:
                while connection.recv(65536):
                    pass
            except TimeoutError:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(ANSWER_S)
                while connection.recv(65536):
                    pass
    except TimeoutError:
        findings.wrong(f"port {port}: {noise[:400]!r}: the connection did not end")
    except OSError:
        pass  # broken off by the server, as it may
    findings.answered(f"noise on port {port}")


def is_well(server: Served) -> bool:
    """Whether the server answers a REST predict, and spends little CPU time on anything else meanwhile."""
    start_s = cpu_s(server.pid)
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=ANSWER_S)
    connection.request("POST", "/v1/models/half_plus_two:predict", b'{"instances": [1.0, 2.0]}')
    response = connection.getresponse()
    body = response.read()
    connection.close()
    is_prompt = cpu_s(server.pid) - start_s < PROMPT_CPU_S
    return response.status == 200 and len(json.loads(body)["predictions"]) == 2 and is_prompt
