"""The server under abuse: it keeps answering other clients in time, within its memory, and reads no other files."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import grpc
import pytest
from fuzzing import fuzz, is_well
from grpc_requests import raw_call
from model_servers import Served, clean_environment, cpu_s, own_mb, running_flags, running_server, start_server
from ports import HOST, free_ports
from recorded_cases import MODELS
from recorded_servers import running_like
from rest_requests import ONE, post, predict_one
from scale_models import write_scale_model
from waiting import eventually, wait_for

from tfsctl.core import protos

pytestmark = pytest.mark.server

PREDICT = "/tensorflow.serving.PredictionService/Predict"
PROMPT_CPU_S = 8.0  # the server spends less on everything while another waits for an answer
REQUESTS = 1500


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a model of every dtype, `zoo`, and a plain one, `half_plus_two`."""
    with running_like("A", tmp_path_factory.mktemp("A")) as running:
        yield running


def state(server: Served, version: str, model: str = "hot") -> str | None:
    """The state of a version; None before the server knows it."""
    with closing(http.client.HTTPConnection(server.host, server.rest_port, timeout=240)) as connection:
        connection.request("GET", f"/v1/models/{model}")
        entries = json.loads(connection.getresponse().read())["model_version_status"]
    return next((entry["state"] for entry in entries if entry["version"] == version), None)


def test_hostile_requests_do_not_stop_the_server(tmp_path: Path) -> None:
    """Mutated requests and random bytes over both protocols are answered, or end the connection."""
    config = tmp_path / "zoo.config"
    entries = [
        f'config {{ name: "{name}" base_path: "{MODELS / name}" model_platform: "tensorflow" }}'
        for name in ("zoo", "half_plus_two", "amazon_review")
    ]
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    with running_flags([f"--model_config_file={config}"], tmp_path) as server:
        fuzz(server, REQUESTS // 5, seed=1, threads=8)
        before_mb = own_mb(server.pid)
        findings = fuzz(server, REQUESTS, seed=2, threads=8)

        assert findings.problems == []
        assert not any(how.startswith("REST 500") for how in findings.answers), findings.answers
        assert is_well(server)
        assert own_mb(server.pid) < before_mb + 60


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"instances": ' + b"[" * 100_000 + b"1" + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b'{"instances": [' + b"1," * 600_000 + b'"a"]}',
        b'{"instances": [' + b"9" * 1_000_000 + b"]}",
        b'{"signature_name": "echo_f32", "instances": [1e' + b"9" * 5_000 + b"]}",
    ],
    ids=["brackets", "nested value", "objects", "odd one at the end", "long number", "long exponent"],
)
def test_deeply_nested_and_long_json_is_refused_quickly(server: Served, body: bytes) -> None:
    """Deep, long and odd JSON is refused with a message, and soon."""
    start_s = cpu_s(server.pid)
    status, message = post(server, "zoo:predict", body)

    assert (status, bool(json.loads(message)["error"])) == (400, True)
    assert cpu_s(server.pid) - start_s < 5 * PROMPT_CPU_S


def test_others_are_answered_while_a_large_body_is_read(server: Served) -> None:
    """Two million numbers in a request, and in its answer, do not delay status requests."""
    body = b'{"signature_name": "echo_f32", "instances": [' + b"1.5," * 1_000_000 + b"2]}"
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(post(server, "zoo:predict", body)[0]))
    thread.start()
    slowest_s = 0.0
    while thread.is_alive():
        start_s = cpu_s(server.pid)
        assert predict_one(server, "half_plus_two") == 2.5
        slowest_s = max(slowest_s, cpu_s(server.pid) - start_s)
    thread.join()

    assert statuses == [200]
    assert slowest_s < PROMPT_CPU_S


def test_compression_bombs_are_refused(server: Served) -> None:
    """Bodies that unpack to more than 100 MB, over both protocols."""
    bomb = gzip.compress(bytes(200 * 1024 * 1024), 1)
    status, body = post(server, "zoo:predict", bomb, {"Content-Encoding": "gzip"})
    assert (status, json.loads(body)["error"]) == (400, "JSON Parse error: The document is empty")

    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", compression=grpc.Compression.Gzip) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            raw_call(channel, PREDICT)(bytes(200 * 1024 * 1024), timeout=240)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    assert is_well(server)


def test_a_few_bytes_do_not_become_gigabytes(server: Served) -> None:
    """A TensorProto that claims a huge shape for one value is refused; a large one is filled, as in the real server."""
    request = protos.PredictRequest(model_spec={"name": "half_plus_two"})
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1.0)
    dim = request.inputs["x"].tensor_shape.dim.add(size=1_000_000)
    limits = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=limits) as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        assert len(call(request, timeout=240).outputs["y"].float_val) == 1_000_000
        dim.size = 500_000_000
        with pytest.raises(grpc.RpcError) as refused:
            call(request, timeout=240)

    assert refused.value.details() == "tensor parsing error: x"


def test_slow_and_half_open_requests_do_not_affect_others(server: Served) -> None:
    """Bodies of a declared gigabyte that trickle in or never arrive, and clients that disconnect in the middle."""
    head = b"POST /v1/models/half_plus_two:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(_connection(server.rest_port)) for _ in range(100)]
        for connection in slow:
            connection.sendall(head)
        for _ in range(5):
            for connection in slow:
                connection.sendall(b"x")
            assert is_well(server)
        for connection in slow[::2]:
            connection.close()

    assert is_well(server)


def test_idle_connections_cost_little(server: Served) -> None:
    """Two thousand connections without requests, on both ports."""
    files = 2_000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < files + 500:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before_mb = own_mb(server.pid)
    with ExitStack() as stack:
        for number in range(files):
            stack.enter_context(_connection(server.rest_port if number % 2 else server.grpc_port))
        assert is_well(server)
        assert own_mb(server.pid) < before_mb + 100
    assert is_well(server)


def test_a_flood_of_connections_does_not_affect_others(server: Served) -> None:
    """Thousands of connections that open and close at once, some with half a request."""
    for number in range(3_000):
        with _connection(server.rest_port if number % 2 else server.grpc_port) as connection:
            connection.sendall((b"", b"GET /v1/mod", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 30)[number % 4])

    assert is_well(server)


def _connection(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=240)


@pytest.mark.parametrize("encode", [str, lambda name: name.replace("/", "%2F"), lambda name: name.replace(".", "%2e")])
def test_names_are_never_used_as_paths(server: Served, tmp_path: Path, encode: Callable[[str], str]) -> None:
    """A model's name, version or label does not reach other files, however it is written."""
    write_scale_model(tmp_path / "secret" / "1", 9.0)
    relative = os.path.relpath(tmp_path / "secret", MODELS / "zoo")
    for name in (
        str(tmp_path / "secret"),
        relative,
        f"zoo/../{relative}",
        f"zoo/versions/../{relative}",
        "../models/warm",
    ):
        status, body = post(server, f"{encode(name)}:predict", ONE)
        assert status in (400, 404), body
    for path in (f"zoo/labels/{encode(relative)}", f"zoo/versions/{encode('../' + relative)}"):
        assert post(server, f"{path}:predict", ONE)[0] == 400

    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        request = protos.PredictRequest(model_spec={"name": str(tmp_path / "secret")})
        with pytest.raises(grpc.RpcError) as refused:
            raw_call(channel, PREDICT)(request.SerializeToString(), timeout=240)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    """The base directory of a model, `hot`, with version 1: the answer to 1.0 is 1.0."""
    shutil.copytree(MODELS / "versions" / "1", tmp_path / "hot" / "1")
    return tmp_path / "hot"


def publish(hot: Path, version: str, *, without: str = "") -> Path:
    """Add a copy of version 2 under another number, with one rename; some of its files may be left out."""
    draft = hot.parent / f"draft-{version}"
    shutil.copytree(MODELS / "versions" / "2", draft)
    if without:
        shutil.rmtree(draft / without)
    return draft.rename(hot / version)


def test_versions_that_cannot_be_loaded_do_not_affect_others(hot: Path, tmp_path: Path) -> None:
    """Without variables, behind a broken link, not a directory, not readable: version 1 stays served."""
    with running_server({"hot": hot}, tmp_path) as server:
        publish(hot, "2", without="variables")
        eventually(lambda: state(server, "2"), "LOADING")
        assert predict_one(server) == 1.0
        (hot / "3").symlink_to(tmp_path / "nowhere")
        (hot / "4").write_text("a file")
        unreadable = publish(hot, "5")
        unreadable.chmod(0)
        try:
            eventually(lambda: state(server, "5") in ("LOADING", "AVAILABLE"), expected=True)
            assert predict_one(server) in (1.0, 2.0)  # to root nothing is unreadable
        finally:
            unreadable.chmod(0o755)

        publish(hot, "9")
        eventually(lambda: state(server, "9"), "AVAILABLE")
        assert (state(server, "3"), state(server, "4")) == (None, None)
        assert predict_one(server) == 2.0


def test_a_version_may_be_a_symbolic_link(hot: Path, tmp_path: Path) -> None:
    """It is served, and is unloaded when the link is removed."""
    shutil.copytree(MODELS / "versions" / "2", tmp_path / "elsewhere")
    with running_server({"hot": hot}, tmp_path) as server:
        (hot / "2").symlink_to(tmp_path / "elsewhere")
        eventually(lambda: predict_one(server), 2.0)
        (hot / "2").unlink()
        eventually(lambda: predict_one(server), 1.0)


def test_versions_deleted_while_they_load_do_not_affect_others(hot: Path, tmp_path: Path) -> None:
    """Version 1 stays served, and a version that stays on disk is served later."""
    with running_server({"hot": hot}, tmp_path) as server:
        for number in range(2, 8):
            doomed = publish(hot, str(number))
            wait_for(partial(state, server, str(number)))
            shutil.rmtree(doomed)
            assert predict_one(server) in (1.0, 2.0)
        eventually(lambda: predict_one(server), 1.0)

        publish(hot, "20")
        eventually(lambda: predict_one(server), 2.0)


@contextmanager
def process(
    hot: Path, ports: list[int], stderr: int | IO[bytes], *flags: str, stdout: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[tuple[subprocess.Popen[bytes], Served]]:
    """A server of the model `hot` on these ports, which is stopped at the end of the block."""
    argv = [
        *(sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={ports[0]}", f"--rest_api_port={ports[1]}"),
        *("--model_name=hot", f"--model_base_path={hot}", *flags),
    ]
    environment = clean_environment(hot.parent)
    running = subprocess.Popen(argv, env=environment, stdout=stdout, stderr=stderr)
    try:
        yield running, Served(HOST, ports[1], ports[0], {}, running.pid)
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()


def test_a_killed_server_can_be_started_again_at_once(hot: Path) -> None:
    """After `kill -9` during a request, with the same command line and ports."""
    grpc_port, rest_port = free_ports(2)
    flags = [f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    flags += ["--model_name=hot", f"--model_base_path={hot}"]
    server = Served(HOST, rest_port, grpc_port, {})
    with (hot.parent / "server.log").open("wb") as log:
        for _ in range(2):
            running = start_server(flags, clean_environment(hot.parent), log, log)
            try:
                eventually(partial(predict_one, server), 1.0)
                with _connection(rest_port) as connection:
                    connection.sendall(
                        b"POST /v1/models/hot:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
                    )
                    running.kill()
                    assert running.wait() == -signal.SIGKILL
            finally:
                if running.poll() is None:
                    running.kill()
                    running.wait()


def test_a_full_disk_does_not_stop_the_server(hot: Path) -> None:
    """If no log line can be written, requests are answered and versions change."""
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        process(hot, free_ports(2), full, "--unknown", stdout=full) as (running, server),
    ):
        eventually(lambda: predict_one(server), 1.0)
        publish(hot, "2")
        eventually(lambda: predict_one(server), 2.0)
        running.terminate()
        assert running.wait(timeout=240) == 0


def test_the_server_needs_no_standard_streams(hot: Path) -> None:
    """If all three are closed at the start, as with some supervisors, no connection takes their place."""
    rest_port, grpc_port = free_ports(2)
    argv = [
        *(sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={grpc_port}"),
        *(f"--rest_api_port={rest_port}", "--model_name=hot", f"--model_base_path={hot}", "--unknown"),
    ]
    closed = f"import os; os.closerange(0, 3); os.execv({sys.executable!r}, {argv!r})"
    running = subprocess.Popen([sys.executable, "-c", closed], env=clean_environment(hot.parent))
    try:
        eventually(lambda: predict_one(Served(HOST, rest_port, grpc_port, {})), 1.0)
        standard = {os.readlink(f"/proc/{running.pid}/fd/{number}") for number in range(3)}
        running.terminate()
        assert (running.wait(timeout=240), standard) == (0, {os.devnull})
    finally:
        running.kill()
        running.wait()


@pytest.mark.parametrize("reader", ["gone", "asleep"])
def test_an_unread_log_does_not_stop_the_server(hot: Path, reader: str) -> None:
    """Nor does a log pipe whose reader has closed it, or has stopped reading while it is full."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while reader == "asleep":
            os.write(writing, bytes(65536))
    except BlockingIOError:
        os.set_blocking(writing, True)
    with process(hot, free_ports(2), writing, "--check_new_versions=never") as (_, server):
        if reader == "gone":
            os.close(reading)
        eventually(lambda: predict_one(server), 1.0)
        publish(hot, "2")
        eventually(lambda: predict_one(server), 2.0)
    os.close(writing)
    if reader == "asleep":
        os.close(reading)
