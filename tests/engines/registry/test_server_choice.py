"""The words for servers that do not run, and the TLS of those that do."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_docker import FakeDocker

from tfsctl.clients.connection import ClientTls
from tfsctl.engines.registry import records, server_choice
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import DockerError, InvalidInput, NotFound

ID = "c" * 64
RECORD = ServerRecord("shop", "docker", "127.0.0.1", 8501, 8500, ("m",), None, ID, 5.0, None)
SECURE = replace(RECORD, certificate="/c.pem")


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """A `docker` that does what a test says, and a record of a container."""
    fake = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    fake.expect("logs", stdout="")
    fake.expect("version", stdout='{"Client": {}, "Server": {"Version": "28", "Arch": "amd64"}}')
    fake.expect("info", stdout="[] true\n")
    fake.expect("context", stdout="unix:///x\n")
    records.register(RECORD)
    return fake


def container(**state: Any) -> str:
    """What `docker inspect` prints."""
    always = {"ExitCode": 0, "StartedAt": "2026-11-24T00:57:31Z", "FinishedAt": "0001-01-01T00:00:00Z"}
    found = {"Id": ID, "Created": "2026-11-24T00:57:30Z", "State": always | state, "NetworkSettings": {}}
    return json.dumps([found | {"Config": {"Image": "i", "Labels": {}}, "HostConfig": {}}])


@pytest.mark.parametrize(
    ("state", "message", "hint"),
    [
        (
            {"Status": "exited", "ExitCode": 3, "FinishedAt": "2026-11-24T01:00:00Z"},
            "shop has ended (status 3)",
            "tfsctl restart shop",
        ),
        ({"Status": "paused"}, "the container of shop is paused", f"docker unpause {ID[:12]}"),
        ({"Status": "created"}, "the container of shop is in the state created", "tfsctl restart shop"),
        (
            {"Status": "restarting", "ExitCode": 1},
            "Docker keeps restarting the container of shop, which ended with status 1",
            "tfsctl logs shop --tail 20",
        ),
    ],
)
def test_what_became_of_a_container(fake_docker: FakeDocker, state: dict[str, Any], message: str, hint: str) -> None:
    """Instead of "no server that tfsctl started", also if it is chosen by its name."""
    fake_docker.expect("inspect", stdout=container(**state))
    for name in (None, "shop"):
        with pytest.raises(NotFound) as refused:
            server_choice.choose_server(records.running(), model=None, name=name)
        assert refused.value.message == f"no model server is running: {message}"
        assert refused.value.hint == hint


def test_a_removed_container_can_be_started_again(fake_docker: FakeDocker) -> None:
    """It can be started again."""
    fake_docker.expect("inspect", stdout="[]\n", stderr="Error: No such object: c\n", code=1)
    error = server_choice.no_running_server()

    assert error.message == "no model server is running: the container of shop was removed outside tfsctl"
    assert error.hint == "tfsctl restart shop"


def test_a_daemon_that_does_not_answer(fake_docker: FakeDocker) -> None:
    """Nobody knows whether the container runs."""
    fake_docker.expect("inspect", stdout="[]\n", stderr="Cannot connect to the Docker daemon at unix:///x.\n", code=1)
    for name in (None, "shop"):
        with pytest.raises(DockerError) as refused:
            server_choice.choose_server(records.running(), model=None, name=name)
        assert refused.value.message == "the state of shop is unknown: the Docker daemon does not respond"


def test_the_server_of_a_model_does_not_run(fake_docker: FakeDocker) -> None:
    """While others run: the error tells what became of it."""
    other = replace(RECORD, name="other", models=("n",))
    fake_docker.expect("inspect", stdout="[]\n", stderr="Error: No such object: c\n", code=1)
    with pytest.raises(NotFound) as removed:
        server_choice.choose_server([other], model="m")
    assert removed.value.message == "no running server serves 'm': the container of shop was removed outside tfsctl"

    fake_docker.expect("inspect", stdout="[]\n", stderr="Cannot connect to the Docker daemon at unix:///x.\n", code=1)
    with pytest.raises(DockerError, match="the state of shop is unknown"):
        server_choice.choose_server([other], model="m")
    with pytest.raises(NotFound, match=r"no running server serves 'x'; running: other"):
        server_choice.choose_server([other], model="x")


def test_no_server_was_started() -> None:
    """The note is printed only in that case."""
    assert server_choice.no_running_server().message == "no server started by tfsctl is running"


def test_the_certificate_of_the_server_is_trusted() -> None:
    """Unless the user names an authority. A server without TLS changes nothing."""
    mine = ClientTls(ca=Path("/ca.pem"))
    assert server_choice.grpc_tls(SECURE, None) == ClientTls(ca=Path("/c.pem"))
    assert server_choice.grpc_tls(SECURE, mine) == mine
    assert (server_choice.grpc_tls(RECORD, None), server_choice.grpc_tls(RECORD, mine)) == (None, mine)


def test_a_client_certificate_is_asked_for() -> None:
    """The user has to name it."""
    mutual = replace(SECURE, client_ca="/clients.pem")
    with pytest.raises(InvalidInput, match=r"requires a client certificate signed by /clients\.pem") as refused:
        server_choice.grpc_tls(mutual, None)
    assert refused.value.hint.startswith("add --cert FILE --key FILE")
    mine = ClientTls(cert=Path("/me.pem"))
    assert server_choice.grpc_tls(mutual, mine) == replace(mine, ca=Path("/c.pem"))
