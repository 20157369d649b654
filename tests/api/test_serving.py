"""`tfsctl.serve`: starts a server, joins one that serves the same, and takes another name beside a different one."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import tfsctl
from tfsctl.engines.planning import serve_plan
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.registry import records

pytestmark = pytest.mark.server


def running_names() -> set[str]:
    """The names of the servers that run."""
    return {record.name for record in records.running()}


def test_a_server_that_serves_the_same_is_joined(echo_dir: Path, tmp_path: Path) -> None:
    """The end of the block leaves it running. Another model of that name gets another server."""
    with tfsctl.serve(echo_dir, engine="embedded") as server:
        with tfsctl.serve(echo_dir) as joined:
            assert (joined.joined, joined.name, joined.grpc_address) == (True, "echo", server.grpc_address)
            assert repr(joined).endswith(", joined>")
        assert running_names() == {"echo"}

        copy = tmp_path / "copy" / "echo"
        shutil.copytree(echo_dir, copy)
        with pytest.raises(tfsctl.EngineError, match="a server named echo is already running") as caught:
            tfsctl.serve(copy, engine="embedded", name="echo")
        assert "tfsctl stop echo" in caught.value.hint
        with tfsctl.serve(copy, engine="embedded") as apart:
            assert (apart.joined, apart.name, apart.models) == (False, "echo-2", ("echo",))
            with apart.connect() as client:
                assert client.predict(2.0)["x"].tolist() == [2.0]
            with tfsctl.connect(server="echo-2") as client:
                assert client.address == apart.grpc_address
        assert running_names() == {"echo"}

        again = tfsctl.serve(echo_dir, engine="embedded", grpc_port=int(server.grpc_address.rpartition(":")[2]))
        assert again.joined
        again.stop()
        again.stop()
        assert running_names() == set()


def test_a_server_ends_with_the_program(echo_dir: Path) -> None:
    """Also if the program does not stop it, and not with a fork of the program."""
    program = f"""
import os, sys, tfsctl
server = tfsctl.serve({str(echo_dir)!r}, engine="embedded")
child = os.fork()
if child == 0:
    sys.exit()
os.waitpid(child, 0)
with tfsctl.connect() as client:
    print(client.predict(2.0)["x"].tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240, check=False)

    assert (done.returncode, done.stdout) == (0, "[2.0]\n"), done.stderr
    assert running_names() == set()
    assert os.listdir(os.environ["TFSCTL_STATE_DIR"])


def test_paths_that_cannot_be_served(tmp_path: Path) -> None:
    """The errors of `tfsctl serve`; nothing is left running."""
    with pytest.raises(tfsctl.NotFound, match="no such directory"):
        tfsctl.serve(tmp_path / "none", engine="embedded")
    with pytest.raises(tfsctl.InvalidInput, match="no model to serve was given"):
        tfsctl.serve(engine="embedded")
    with pytest.raises(tfsctl.InvalidInput, match="there is no engine 'foo'"):
        tfsctl.serve(tmp_path, engine="foo")  # type: ignore[arg-type] # the point
    with pytest.raises(tfsctl.InvalidInput, match="70000 is not a port"):
        tfsctl.serve(tmp_path, engine="embedded", rest_port=70000)
    with pytest.raises(tfsctl.InvalidInput, match="wait_timeout_s is nan"):
        tfsctl.serve(tmp_path, engine="embedded", wait_timeout_s=math.nan)
    assert running_names() == set()


def test_variables_choose_the_engine_and_the_image(
    echo_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """TFSCTL_ENGINE and TFSCTL_IMAGE, as for `tfsctl serve`; an argument takes precedence."""
    made: list[ServeOptions] = []

    def make_plan(options: ServeOptions) -> NoReturn:
        made.append(options)
        raise tfsctl.EngineError("enough")

    monkeypatch.setattr(serve_plan, "make_plan", make_plan)
    monkeypatch.setenv("TFSCTL_ENGINE", "docker")
    monkeypatch.setenv("TFSCTL_IMAGE", "registry.example/serving:1")
    with pytest.raises(tfsctl.EngineError):
        tfsctl.serve(echo_dir)
    with pytest.raises(tfsctl.EngineError):
        tfsctl.serve(echo_dir, engine="embedded")
    assert [options.engine for options in made] == ["docker", "embedded"]
    assert made[0].container.image == "registry.example/serving:1"

    monkeypatch.setenv("TFSCTL_ENGINE", "foo")
    with pytest.raises(tfsctl.InvalidInput, match="there is no engine 'foo'"):
        tfsctl.serve(tmp_path)
