"""`tfsctl run`: serve a model and query it, in a real terminal and from a pipe."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from model_servers import clean_environment
from terminal import CTRL_D, ENTER, Terminal

pytestmark = pytest.mark.server

ENGINE = ("--engine", "embedded", "--rest-port", "0", "--grpc-port", "0")


def tfsctl(where: Path, *argv: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one command as a process; its state directory is below `where`."""
    return subprocess.run(
        [sys.executable, "-m", "tfsctl", *map(str, argv)],
        env=clean_environment(where),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def running(where: Path) -> Sequence[str]:
    """The names of the running servers."""
    return [Path(file).stem for file in (where / "state" / "servers").glob("*.json")]


@contextmanager
def stopped_at_last(where: Path) -> Iterator[None]:
    """Stop all servers at the end, also after a failure."""
    try:
        yield
    finally:
        tfsctl(where, "stop", "--all")


def test_run_starts_and_stops_a_server(echo_dir: Path, tmp_path: Path) -> None:
    """The server answers in a terminal, also over gRPC, and has ended after the conversation."""
    argv = [sys.executable, "-m", "tfsctl", "run", str(echo_dir), *ENGINE, "--grpc", "--signature", "text"]
    with stopped_at_last(tmp_path), Terminal(argv, clean_environment(tmp_path)) as screen:
        screen.expect("serving echo version 7 with embedded")
        screen.expect("over gRPC. :help lists the commands")
        screen.expect("echo>")
        screen.press("great" + ENTER)
        screen.expect(" ms\n")
        screen.expect("echo>")
        assert running(tmp_path) == ["echo"]
        screen.press(CTRL_D)
        screen.expect("stopped echo")
        assert screen.wait() == 0
        assert running(tmp_path) == []


def test_piped_run_returns_the_first_failure(echo_dir: Path, tmp_path: Path) -> None:
    """Stdout has only answers; the server ends after the last line."""
    with stopped_at_last(tmp_path):
        done = tfsctl(tmp_path, "run", echo_dir, *ENGINE, stdin="1\ngreat\n2\n")
        assert (done.stdout, done.returncode) == ("1.0\n2.0\n", 2)
        assert "error: line 2: 'great' is not float32" in done.stderr
        assert running(tmp_path) == []


def test_running_server_is_reused(echo_dir: Path, tmp_path: Path) -> None:
    """No second server is started if the running one serves the same directory."""
    with stopped_at_last(tmp_path):
        served = json.loads(tfsctl(tmp_path, "serve", echo_dir, *ENGINE, "--detach", "--json").stdout)
        done = tfsctl(tmp_path, "run", echo_dir, *ENGINE, stdin=":rest\n5\n")
        assert (done.stdout, done.returncode) == ("5.0\n", 0)
        assert f"127.0.0.1:{served['rest_port']} over REST" in done.stderr
        assert "stopped" not in done.stderr
        assert running(tmp_path) == ["echo"]

        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "echo").symlink_to(echo_dir)
        other = tfsctl(tmp_path, "run", tmp_path / "elsewhere" / "echo", *ENGINE, "--name", "other", stdin="6\n")
        assert (other.stdout, other.returncode) == ("6.0\n", 0)
        assert "stopped other" in other.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_the_server(echo_dir: Path, tmp_path: Path, number: signal.Signals) -> None:
    """A closed terminal or a `kill` stops the server."""
    with stopped_at_last(tmp_path):
        process = subprocess.Popen(
            [sys.executable, "-m", "tfsctl", "run", str(echo_dir), *ENGINE],
            env=clean_environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("1\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1.0\n"
        process.send_signal(number)
        process.communicate(timeout=240)
        assert running(tmp_path) == []


def test_invalid_models_are_reported(tmp_path: Path) -> None:
    """As by `tfsctl serve`, before anything is started."""
    done = tfsctl(tmp_path, "run", tmp_path / "nothing", *ENGINE)
    assert (done.stdout, done.returncode) == ("", 4)
    assert done.stderr.startswith("error: ")


def test_the_certificate_of_the_server_is_trusted_over_grpc(echo_dir: Path, tmp_path: Path) -> None:
    """The certificate of the server is trusted. A client certificate is not there, so nothing is started."""
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    options = ("--ssl-cert", tmp_path / "cert.pem", "--ssl-key", tmp_path / "key.pem")
    done = tfsctl(tmp_path, "run", echo_dir, *ENGINE, *options, "--grpc", stdin="1\n")
    assert (done.stdout, done.returncode) == ("1.0\n", 0), done.stderr

    mutual = (*options, "--ssl-client-ca", tmp_path / "cert.pem")
    done = tfsctl(tmp_path, "run", echo_dir, *ENGINE, *mutual, "--grpc", stdin="1\n")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "hint: remove --grpc (REST has no TLS); or " in done.stderr


def test_unknown_signature_leaves_no_server(echo_dir: Path, tmp_path: Path) -> None:
    """The REPL does not start, and the server is stopped."""
    with stopped_at_last(tmp_path):
        done = tfsctl(tmp_path, "run", echo_dir, *ENGINE, "--signature", "txt", stdin="1\n")
        assert (done.stdout, done.returncode) == ("", 4)
        assert "hint: did you mean --signature text?" in done.stderr
        assert running(tmp_path) == []
