"""The modules that a command loads: never TensorFlow, and only what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from model_servers import Served, clean_environment

from tfsctl.cli import root_command
from tfsctl.cli.registry import COMMANDS
from tfsctl.engines.server_record import ServerRecord
from tfsctl.programs.processes import process_identity

# Runs command lines as `tfsctl` would, one after another, then tells which modules each of them loaded.
_PROBE = """
import io, json, sys
from tfsctl.__main__ import main
found, before = [], set()
for argv, stdin in json.loads(sys.argv[1]):
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
    code = main(argv)
    found.append([code, sorted(set(sys.modules) - before)])
    before = set(sys.modules)
print(json.dumps(found), file=sys.stderr)
"""
HEAVY = {"grpc", "httpx", "numpy", "rich", "prompt_toolkit", "google.protobuf", "uvloop", "asyncio"}
CLIENT_COMMANDS = (
    (["predict", "2"], ""),
    (["predict", "2", "--dry-run"], ""),
    (["status"], ""),
    (["predict", "-i", "x=2", "--json"], ""),
    (["regress", "--signature", "regress_x_to_y", "x=1"], ""),
    (["predict"], "2\n"),
    (["metadata"], ""),
    (["repl"], "2\n:metadata\n:json\n3\n"),
)


def loaded_by_each(where: Path, *runs: tuple[Sequence[object], str]) -> list[set[str]]:
    """The modules that each command, given with its stdin, adds to those of a new interpreter. All must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, json.dumps([([*map(str, argv)], stdin) for argv, stdin in runs])],
        env=clean_environment(where),
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    found = json.loads(done.stderr.splitlines()[-1])
    assert [code for code, _ in found] == [0] * len(runs), done.stderr
    return [set(modules) for _, modules in found]


def loaded_by(where: Path, *argv: object) -> set[str]:
    """The modules that a new interpreter has loaded after a command, which must succeed."""
    (modules,) = loaded_by_each(where, (argv, ""))
    return modules


def test_help_and_version_load_nothing_heavy(tmp_path: Path) -> None:
    """Help loads neither TensorFlow nor a client nor a terminal library."""
    lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]
    loaded = loaded_by_each(tmp_path, *((line, "") for line in lines))
    heavy = {
        " ".join(line): modules & (HEAVY | {"tensorflow", "keras"}) for line, modules in zip(lines, loaded, strict=True)
    }
    assert heavy == dict.fromkeys(heavy, frozenset())


def test_listing_commands_loads_none(tmp_path: Path) -> None:
    """The summaries in the registry equal the first lines of the commands' help."""
    modules = loaded_by(tmp_path, "--help")
    assert not [module for module in modules if module.startswith("tfsctl.cli.commands.")]
    group = root_command()
    for name, registered in COMMANDS.items():
        command = group.get_command(None, name)  # type: ignore[attr-defined] # it is a group
        assert (command.help or "").split("\n")[0].strip() == registered.summary, name


def test_commands_do_not_import_each_other(tmp_path: Path) -> None:
    """A command imports no module of another command."""
    modules = loaded_by(tmp_path, "explain", "Connection refused")
    assert "tfsctl.cli.commands.query.explain" in modules
    others = {f"tfsctl.cli.commands.{other.folder}.{name}" for name, other in COMMANDS.items() if name != "explain"}
    assert not modules & others


@pytest.mark.parametrize(("over", "library", "other"), [("rest", "httpx", "grpc"), ("grpc", "grpc", "httpx")])
def test_client_commands_never_load_tensorflow(
    served: Served, tmp_path: Path, over: str, library: str, other: str
) -> None:
    """Each transport loads only its own client library."""
    port = served.rest_port if over == "rest" else served.grpc_port
    options = [f"--{over}", "--host", served.host, "--port", port, "--model", "half_plus_two"]
    loaded = loaded_by_each(tmp_path, *(([*argv, *options], stdin) for argv, stdin in CLIENT_COMMANDS))
    unwanted = {
        " ".join(argv): modules & {"tensorflow", "keras", "rich", "prompt_toolkit", other}
        for (argv, _), modules in zip(CLIENT_COMMANDS, loaded, strict=True)
    }
    assert unwanted == dict.fromkeys(unwanted, frozenset())
    assert library in loaded[0]


def register(served: Served, tmp_path: Path) -> None:
    """Write the record of a server, as `tfsctl serve` does."""
    record = ServerRecord(
        name="shop",
        engine="embedded",
        host=served.host,
        rest_port=served.rest_port,
        grpc_port=served.grpc_port,
        models=("half_plus_two",),
        pid=served.pid,
        container=None,
        started_at=0.0,
        log_path=None,
    )
    servers = tmp_path / "state" / "servers"
    servers.mkdir(parents=True)
    document = record.to_document() | {"born": process_identity(served.pid), "launch": None}
    (servers / "shop.json").write_text(json.dumps(document))


@pytest.mark.parametrize("command", ["ps", "status", "metadata"])
def test_commands_about_running_servers_load_no_tensors(served: Served, tmp_path: Path, command: str) -> None:
    """The code that describes a container or starts a server is not loaded either."""
    register(served, tmp_path)
    modules = loaded_by(tmp_path, command)
    assert "httpx" in modules
    assert not modules & {"numpy", "tfsctl.engines.docker.container_spec", "tfsctl.engines.launch_spec"}


def test_predict_loads_little(served: Served, tmp_path: Path) -> None:
    """A prediction needs no sample rows, tf.Examples or captured requests, and recognises the server without psutil."""
    register(served, tmp_path)
    modules = loaded_by(tmp_path, "predict", "2")
    assert "tfsctl.engines.registry.server_choice" in modules
    assert "tfsctl.core.model_dir" not in modules
    assert not modules & {"psutil", "tfsctl.core.inference", "tfsctl.clients.captured_request"}


def test_ps_without_servers_loads_little(tmp_path: Path) -> None:
    """What reads processes, logs, usage and containers is loaded only if there is a server."""
    modules = loaded_by(tmp_path, "ps")
    assert "tfsctl.engines.registry.fleet" in modules
    assert not modules & {f"tfsctl.engines.registry.{name}" for name in ("server_log", "usage")}
    assert not modules & {"numpy", "httpx", "tfsctl.engines.docker.inspection", "tfsctl.clients.connection"}


def test_reading_a_directory_loads_no_client(echo_dir: Path, tmp_path: Path) -> None:
    """`tfsctl metadata PATH` parses saved_model.pb without TensorFlow."""
    modules = loaded_by(tmp_path, "metadata", echo_dir)
    assert not modules & {"tensorflow", "keras", "httpx", "grpc", "numpy"}


INTERRUPTED_AT_ITS_START = """
import sys
class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC())
from tfsctl.__main__ import main
raise SystemExit(main(["ps"]))
"""


def test_ctrl_c_during_import_is_quiet(tmp_path: Path) -> None:
    """There is no traceback."""
    argv = [sys.executable, "-c", INTERRUPTED_AT_ITS_START]
    done = subprocess.run(argv, env=clean_environment(tmp_path), capture_output=True, timeout=240, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
