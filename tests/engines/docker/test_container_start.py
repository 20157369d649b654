"""Starting a container: ports and names that are in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_docker import FakeDocker

from tfsctl.engines import state_dir
from tfsctl.engines.docker import engine as docker_engine
from tfsctl.engines.launch_spec import ContainerOptions, LaunchSpec
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.planning.serve_plan import make_plan
from tfsctl.errors import DockerError


def launch(echo: Path, *, rest_port: int = 8501) -> LaunchSpec:
    """The launch of a container of another image."""
    options = ServeOptions(paths=(echo,), engine="docker", container=ContainerOptions("mine:1"), rest_port=rest_port)
    return make_plan(options).launch


@pytest.mark.parametrize(("port", "attempts"), [(0, docker_engine.PORT_ATTEMPTS), (8501, 1)])
def test_a_free_port_that_was_taken_is_replaced(echo: Path, fake_docker: FakeDocker, port: int, attempts: int) -> None:
    """Not a port that the user chose. Each attempt has other ports than 0."""
    fake_docker.expect_daemon()
    fake_docker.expect("ps")
    taken = "docker: Error response from daemon: Bind for 127.0.0.1:1 failed: port is already allocated.\n"
    fake_docker.expect("run", stderr=taken, code=125)

    with pytest.raises(DockerError, match="a port is in use by another program or container"):
        docker_engine.start(launch(echo, rest_port=port), detach=True)
    runs = [call for call in fake_docker.calls() if call[0] == "run"]
    assert len(runs) == attempts
    for run in runs:
        assert run[run.index("--publish") + 3].split(":")[1] not in ("", "0")


@pytest.mark.parametrize(
    ("inspected", "message", "hint"),
    [
        (
            {"stderr": "Error: No such object: tfsctl-echo\n", "code": 1},
            "another command is starting or removing the container tfsctl-echo",
            "--name ANOTHER_NAME, or tfsctl ps",
        ),
        ({"stdout": "OURS\n"}, "a server named echo is already running", "--name ANOTHER_NAME; or tfsctl stop echo, "),
        (
            {"stdout": "<no value>\n"},
            "a container named tfsctl-echo already exists",
            "--name ANOTHER_NAME; or docker rm --force tfsctl-echo, ",
        ),
    ],
)
def test_the_owner_of_a_name_in_use(
    echo: Path, fake_docker: FakeDocker, inspected: dict[str, Any], message: str, hint: str
) -> None:
    """Only a foreign container is one that the user may want to remove."""
    fake_docker.expect_daemon()
    fake_docker.expect("ps")
    conflict = 'docker: Error response from daemon: Conflict. The container name "/tfsctl-echo" is already in use.\n'
    fake_docker.expect("run", stderr=conflict, code=125)
    ours = {key: text.replace("OURS", str(state_dir.base())) for key, text in inspected.items() if key != "code"}
    fake_docker.expect("inspect", **ours, code=inspected.get("code", 0))

    with pytest.raises(DockerError) as refused:
        docker_engine.start(launch(echo), detach=True)
    assert refused.value.message == message
    assert refused.value.hint.startswith(hint)
