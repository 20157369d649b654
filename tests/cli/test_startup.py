"""The modules that a command loads: never TensorFlow, and only what it needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from model_servers import Served, clean_environment

from tfsctl.cli import app
from tfsctl.cli.registry import COMMANDS

# Runs one command line as `tfsctl` would, then tells which modules were loaded.
_PROBE = """
import json, sys
from tfsctl.__main__ import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "modules": sorted(sys.modules)}), file=sys.stderr)
"""
HEAVY = {"grpc", "httpx", "numpy", "rich", "prompt_toolkit", "google.protobuf", "uvloop", "asyncio"}


def loaded_by(where: Path, *argv: object, stdin: str = "") -> set[str]:
    """The modules that a new interpreter has loaded after a command, which must succeed."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *map(str, argv)],
        env=clean_environment(where),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    document = json.loads(done.stderr.splitlines()[-1])
    assert document["code"] == 0, done.stderr
    return set(document["modules"])


@pytest.mark.parametrize(
    "argv",
    [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)],
    ids=" ".join,
)
def test_help_and_version_load_nothing_heavy(tmp_path: Path, argv: list[str]) -> None:
    """Help loads neither TensorFlow nor a client nor a terminal library."""
    modules = loaded_by(tmp_path, *argv)
    assert not modules & (HEAVY | {"tensorflow", "keras"})


def test_listing_commands_loads_none(tmp_path: Path) -> None:
    """The summaries in the registry equal the first lines of the commands' help."""
    modules = loaded_by(tmp_path, "--help")
    assert not [module for module in modules if module.startswith("tfsctl.cli.commands.")]
    group = typer.main.get_command(app)
    for name, registered in COMMANDS.items():
        command = group.get_command(None, name)  # type: ignore[attr-defined] # it is a group
        assert (command.help or "").split("\n")[0].strip() == registered.summary, name


def test_commands_do_not_import_each_other(tmp_path: Path) -> None:
    """A command imports no module of another command."""
    modules = loaded_by(tmp_path, "explain", "Connection refused")
    assert "tfsctl.cli.commands.query.explain" in modules
    others = {f"tfsctl.cli.commands.{other.folder}.{name}" for name, other in COMMANDS.items() if name != "explain"}
    assert not modules & others


@pytest.mark.parametrize("over", ["rest", "grpc"])
@pytest.mark.parametrize(
    ("argv", "stdin"),
    [
        (["predict", "2"], ""),
        (["predict", "2", "--dry-run"], ""),
        (["status"], ""),
        (["predict", "-i", "x=2", "--json"], ""),
        (["regress", "--signature", "regress_x_to_y", "x=1"], ""),
        (["predict"], "2\n"),
        (["metadata"], ""),
        (["repl"], "2\n:metadata\n:json\n3\n"),
    ],
)
def test_client_commands_never_load_tensorflow(
    served: Served, tmp_path: Path, over: str, argv: list[str], stdin: str
) -> None:
    """Each transport loads only its own client library."""
    port = served.rest_port if over == "rest" else served.grpc_port
    options = [f"--{over}", "--host", served.host, "--port", port, "--model", "half_plus_two"]
    modules = loaded_by(tmp_path, *argv, *options, stdin=stdin)
    assert not modules & {"tensorflow", "keras", "rich", "prompt_toolkit"}
    assert ("httpx" in modules, "grpc" in modules) == (over == "rest", over == "grpc")


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
