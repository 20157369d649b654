"""`tfsctl status` and `tfsctl wait`: the states of versions that are loaded and unloaded on a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from model_servers import Served, clean_environment, running_server
from ports import HOST
from waiting import PATIENCE_S

from tfsctl.cli.commands.query import wait
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose model `echo` has version 1, then 2, which replaces it, then 3, which fails to load."""
    base = tmp_path_factory.mktemp("living") / "echo"
    write_echo_model(base / "1")
    with running_server(
        {"echo": base}, tmp_path_factory.mktemp("workspace"), flags=["--max_num_load_retries=0"]
    ) as server:
        yield server


def address(server: Served, over: str = "rest") -> list[object]:
    """The options that choose this server."""
    return [f"--{over}", "--host", HOST, "--port", server.rest_port if over == "rest" else server.grpc_port]


def publish(server: Served, version: int, content: bytes | None = None) -> None:
    """Add a version as export does: rename the complete directory."""
    base = server.models["echo"]
    staged = base / f"staged{version}"
    write_echo_model(staged)
    if content is not None:
        (staged / "saved_model.pb").write_bytes(content)
    staged.rename(base / str(version))


@pytest.mark.server
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_versions_and_their_states(run_cli: RunCli, living: Served, over: str) -> None:
    """One line per version; --json adds the address; NAME@VERSION selects one version."""
    typed = ["status", *address(living, over), "echo"]
    result = run_cli(*typed)
    assert (result.stdout, result.stderr, result.code) == ("echo\t1\tAVAILABLE\t\n", "", 0)
    port = living.rest_port if over == "rest" else living.grpc_port
    version = {"version": 1, "state": "AVAILABLE", "error_code": "OK", "error_message": ""}
    assert json.loads(run_cli(*typed, "--json").stdout) == {
        "models": [{"model": "echo", "address": f"{HOST}:{port}", "transport": over, "versions": [version]}]
    }
    assert run_cli(*typed[:-1], "echo@1").stdout == result.stdout
    gone = run_cli(*typed[:-1], "echo@9")
    assert gone.code == 4
    assert "Could not find version 9 of model echo" in gone.stderr
    unknown = run_cli(*typed, "--label", "stable")
    assert unknown.code == 4
    assert "Unrecognized servable version label: stable" in unknown.stderr


def test_status_without_a_name_lists_all_models(run_cli: RunCli, registered: ServerRecord) -> None:
    """All models of all servers that tfsctl started."""
    result = run_cli("status")
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == list(registered.models)


def test_contradicting_name_and_option(run_cli: RunCli) -> None:
    """Contradicting options are an error."""
    for typed in (["m", "--model", "n"], ["m@1", "--version", "2"]):
        result = run_cli("status", *typed)
        assert result.code == 2
        assert "cannot be used together" in result.stderr


@pytest.mark.server
def test_watch_prints_each_change(living: Served, tmp_path: Path) -> None:
    """One line per state at the start, then one per change, until Ctrl-C."""
    watching = subprocess.Popen(
        [sys.executable, "-m", "tfsctl", "status", "--watch", "--json", *map(str, address(living)), "echo"],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())
    assert {key: first[key] for key in ("model", "version", "state", "error")} == {
        "model": "echo",
        "version": 1,
        "state": "AVAILABLE",
        "error": "",
    }
    publish(living, 2)
    seen = set()
    while (2, "AVAILABLE") not in seen or (1, "END") not in seen:
        change = json.loads(watching.stdout.readline())
        seen.add((change["version"], change["state"]))
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=240) == ExitCode.INTERRUPTED
    watching.stdout.close()


@pytest.mark.server
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_wait_ends_when_available(run_cli: RunCli, living: Served, over: str) -> None:
    """For the model or one version of it; immediately if it is AVAILABLE already."""
    result = run_cli("wait", *address(living, over), "echo")
    assert (result.stderr, result.code) == ("", 0)
    assert result.stdout.startswith("echo version ")

    wanted = 10 if over == "rest" else 11
    later = threading.Timer(0.5, publish, [living, wanted])
    later.start()
    result = run_cli("wait", *address(living, over), f"echo@{wanted}", "--json", "--timeout", 20)
    later.join()
    document = json.loads(result.stdout)
    assert 0.3 < document.pop("waited_s") < PATIENCE_S
    assert document == {"model": "echo", "version": wanted, "state": "AVAILABLE"}


@pytest.mark.server
def test_wait_ends_on_a_failed_load(run_cli: RunCli, living: Served) -> None:
    """Prints the server's message and its cause, and exits with 1 well before the timeout."""
    publish(living, 20, b"\x00 not a model")
    result = run_cli("wait", *address(living), "echo@20", "--timeout", 3600)
    assert (result.stdout, result.code) == ("", 1)
    assert "error: echo version 20 could not be loaded (" in result.stderr
    assert "echo\t20\tEND\t" in run_cli("status", *address(living), "echo").stdout


@pytest.mark.server
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (
            ["echo@99"],
            "error: echo@99 is not AVAILABLE after 1 s: echo version 99 at {at}: Could not find version 99",
        ),
        (
            ["other"],
            "error: other is not AVAILABLE after 1 s: other at {at}: Could not find any versions of model other",
        ),
        (
            ["echo", "--label", "stable"],
            "error: echo is not AVAILABLE after 1 s: echo label stable at {at}: Unrecognized",
        ),
    ],
)
def test_wait_ends_at_the_timeout(run_cli: RunCli, living: Served, typed: list[str], words: str) -> None:
    """With exit code 3 and the last reason."""
    result = run_cli("wait", *address(living), *typed, "--timeout", 1)
    assert (result.stdout, result.code) == ("", 3)
    assert f"\n{words}".format(at=f"{HOST}:{living.rest_port}") in result.stderr
    assert result.stderr.startswith(f"waiting for {typed[0]} (0 of 1 s): ")


class _AnswersOnce(BaseHTTPRequestHandler):
    """A REST server that answers NOT_FOUND once, and does not answer later requests."""

    def do_GET(self) -> None:
        if self.server.has_answered.is_set():  # type: ignore[attr-defined] # set below
            self.rfile.read()  # returns when the client hangs up
            return
        self.server.has_answered.set()  # type: ignore[attr-defined]
        body = b'{"error": "Could not find any versions of model other"}'
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is given
        """Say nothing."""


def test_wait_keeps_the_reason_if_the_last_request_is_cut_short(run_cli: RunCli) -> None:
    """The message has the last complete answer, not the timeout of the last request."""
    server = ThreadingHTTPServer((HOST, 0), _AnswersOnce)
    server.has_answered = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    at = f"{HOST}:{server.server_port}"
    result = run_cli("wait", "--rest", "--host", HOST, "--port", server.server_port, "other", "--timeout", 2)
    server.shutdown()
    server.server_close()
    assert result.code == 3
    words = f"error: other is not AVAILABLE after 2 s: other at {at}: Could not find any versions of model other\n"
    assert words in result.stderr


def test_wait_for_a_server_that_starts_later(run_cli: RunCli) -> None:
    """Also for a server that tfsctl did not start; the last failure is printed."""
    result = run_cli("wait", "--host", HOST, "--port", 9, "echo", "--timeout", 0.5)
    assert result.code == 3
    first, *_ = result.stderr.splitlines()
    assert first == f"waiting for echo (0 of 0.5 s): no answer from {HOST}:9: Connection refused"
    assert f"\nerror: echo is not AVAILABLE after 0.5 s: no answer from {HOST}:9: Connection refused" in result.stderr


def test_wait_goes_on_saying_what_it_waits_for(monkeypatch: pytest.MonkeyPatch, run_cli: RunCli) -> None:
    """The reason is printed again after a while."""
    monkeypatch.setattr(wait, "REMINDER_INTERVAL_S", 0.3)
    result = run_cli("wait", "--host", HOST, "--port", 9, "echo", "--timeout", 1)
    again = [line for line in result.stderr.splitlines() if line.startswith("still waiting for echo (")]
    assert 1 <= len(again) <= 3
