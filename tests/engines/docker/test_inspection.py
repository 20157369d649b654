"""What is read from `docker inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_docker import FakeDocker

from tfsctl.engines.docker import inspection
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import GONE, UNKNOWN
from tfsctl.engines.server_record import ServerRecord

ID = "c" * 64
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n"
# Docker 29 says this about a missing socket: it is no missing container.
NO_SOCKET = "failed to connect to the docker API: dial unix /x.sock: connect: no such file or directory\n"


def inspected(**state: Any) -> dict[str, Any]:
    """A running container as `docker inspect` prints it."""
    return {
        "Id": ID,
        "Created": "2026-11-24T00:57:30.5Z",
        "State": {
            "Status": "running",
            "ExitCode": 0,
            "OOMKilled": False,
            "Pid": 77,
            "StartedAt": "2026-11-24T00:57:31.695217551Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
            "Health": {"Status": "healthy"},
        }
        | state,
        "Config": {
            "Image": "serving:1",
            "Labels": {"tfsctl.server": "shop", "tfsctl.models": "a%2Fb,c", "tfsctl.certificate": "/c.pem"},
            "Cmd": ["--rest_api_port=9501", "--port=9500"],
        },
        "HostConfig": {
            "NetworkMode": "bridge",
            "PortBindings": {"8501/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8601"}]},
            "RestartPolicy": {"Name": "always"},
            "NanoCpus": 1500000000,
            "Memory": 2**30,
            "PidsLimit": 4096,
        },
        "NetworkSettings": {"Ports": {"8501/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8701"}]}},
    }


def test_the_facts_of_a_running_container(fake_docker: FakeDocker) -> None:
    """The ports are those that Docker has published now."""
    fake_docker.expect("inspect", "--type", "container", ID, stdout=json.dumps([inspected()]))
    found = inspection.inspect([ID])
    assert found is not None
    facts = found[ID]

    assert (facts.server, facts.models, facts.state, facts.pid) == ("shop", ("a/b", "c"), "running", 77)
    assert (facts.bind_address, facts.rest_port, facts.grpc_port) == ("0.0.0.0", 8701, 0)
    assert (facts.image, facts.health, facts.restart) == ("serving:1", "healthy", "always")
    assert facts.limits == inspection.ContainerLimits(1.5, 2**30, 4096)
    assert (facts.certificate, facts.client_ca) == ("/c.pem", None)
    assert facts.started_at == pytest.approx(1795481851.695217)
    assert facts.ended_at is None


def test_the_facts_of_an_ended_container(fake_docker: FakeDocker) -> None:
    """The ports are those that it will have again. Docker knows whether it ran out of memory."""
    ended = inspected(
        Status="exited", ExitCode=1, OOMKilled=True, Pid=0, FinishedAt="2026-11-24T01:00:00Z", Health=None
    )
    ended["NetworkSettings"]["Ports"] = {}
    fake_docker.expect("inspect", stdout=json.dumps([ended]))
    found = inspection.inspect([ID])
    assert found is not None
    facts = found[ID]

    assert (facts.state, facts.rest_port, facts.health) == ("exited (1)", 8601, None)
    assert facts.exit_reason.startswith("it was killed, probably because memory ran out")
    assert facts.ended_at == 1795482000.0


def test_the_network_of_the_host(fake_docker: FakeDocker) -> None:
    """Docker publishes nothing: the ports are those of the server's command line."""
    container = inspected()
    container["HostConfig"]["NetworkMode"] = "host"
    fake_docker.expect("inspect", stdout=json.dumps([container]))
    found = inspection.inspect([ID])
    assert found is not None

    assert (found[ID].bind_address, found[ID].rest_port, found[ID].grpc_port) == ("0.0.0.0", 9501, 9500)


def test_removed_containers_are_left_out(fake_docker: FakeDocker) -> None:
    """Docker fails, and still prints the others."""
    text, error = json.dumps([inspected()]), "Error: No such container: gone\n"
    fake_docker.expect("inspect", stdout=text, stderr=error, code=1)

    assert list(inspection.inspect([ID, "gone"]) or ()) == [ID]
    assert inspection.inspect([]) == {}


@pytest.mark.parametrize("message", [DOWN, NO_SOCKET])
def test_a_daemon_that_does_not_answer_is_not_a_removed_container(fake_docker: FakeDocker, message: str) -> None:
    """The state is unknown, and the record is kept."""
    fake_docker.expect("inspect", stdout="[]\n", stderr=message, code=1)
    records.register(ServerRecord("far", "docker", "127.0.0.1", 1, 2, ("m",), None, ID, 5.0, None))

    assert inspection.inspect([ID]) is None
    assert [(each.record.name, each.state) for each in records.list_servers()] == [("far", UNKNOWN)]


def test_without_docker_the_state_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker was uninstalled, or is not on PATH: the containers may still run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    records.register(ServerRecord("far", "docker", "127.0.0.1", 1, 2, ("m",), None, ID, 5.0, None))

    assert [each.state for each in records.list_servers()] == [UNKNOWN]


def test_a_record_follows_its_container(fake_docker: FakeDocker) -> None:
    """Docker may have restarted it with other ports, or removed it."""
    records.register(ServerRecord("shop", "docker", "127.0.0.1", 8601, 8600, ("m",), None, ID, 5.0, None))
    fake_docker.expect("inspect", stdout=json.dumps([inspected()]))
    (record,) = records.running()
    assert (record.host, record.rest_port, record.grpc_port) == ("127.0.0.1", 8701, 8600)
    assert record.bind_address == "0.0.0.0"
    assert record.started_at == pytest.approx(1795481851.695217)

    fake_docker.expect("inspect", stdout="[]\n", stderr="Error: No such object: c\n", code=1)
    assert [(each.record.name, each.state) for each in records.list_servers()] == [("shop", GONE)]
