"""Exit code 70 is never reached by arguments, files, the environment or the answers of a server.

All cases are seeded, and run in this process, so a failure names the seed and the command line to try again.
"""

from __future__ import annotations

import os
import random
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_runner import RunCli
from model_servers import clean_environment
from mutating_server import Mutations, mutating_grpc, mutating_rest

from tfsctl.cli import root_command
from tfsctl.cli.registry import COMMANDS
from tfsctl.errors import ExitCode

EXPECTED = [code for code in ExitCode if code != ExitCode.BUG]
QUERIES: list[tuple[str, ...]] = [
    ("predict", "x=1", "t=a"),
    ("predict", "x=1", "t=a", "--json"),
    ("predict", '{"inputs": {"x": [1], "t": ["a"]}}', "--only", "x"),
    ("predict", "1"),
    ("predict", "x=1 t=a", "--top", "1"),
    ("predict", "--file", "rows.csv"),
    ("predict", "--file", "rows.csv", "--output", "out.csv"),
    ("predict", "--raw", "{}"),
    ("predict", "--signature", "classify", "a=1"),
    ("classify", "x=1"),
    ("classify", "x=1", "--json"),
    ("regress", "x=1"),
    ("metadata",),
    ("metadata", "--json"),
    ("sample",),
    ("sample", "--signature", "regress"),
    ("status", "m"),
    ("status", "m", "--json"),
    ("wait", "m", "--timeout", "0.05"),
    ("repl",),
]
CONVERSATION = "x=1 t=a\n:metadata\n:model\n:signature classify\n:verb classify\nx=1\n:last\n:curl\n:json\n:version 3\n"
ODD_TEXTS = [
    *(
        "",
        "-",
        "--",
        "=",
        "a=",
        "=a",
        "{",
        "[",
        "{}",
        "[]",
        "[[]]",
        "null",
        "NaN",
        "1e400",
        "9" * 5000,
        "\udcff",
        "é\n",
    ),
    *(
        "@",
        "@/",
        "x=@/",
        "/",
        "/dev/null/x",
        "a" * 5000,
        "~nobody",
        "%s",
        "{0}",
        "[red]",
        "x" * 300 + ".csv",
        "*",
        "[a",
    ),
    *(
        "unix:",
        "unix:/nope",
        "[::1",
        "::1",
        "http://",
        "http://[",
        "http://a:b@c",
        "1:2:3",
        "localhost:99999",
        "\t",
        "a b",
    ),
    *(
        "x={",
        'x="',
        "x=[1,",
        '{"instances": 3}',
        '{"instances": []}',
        '{"inputs": null}',
        '{"signature_name": 3, "instances": []}',
        "-1",
        "1_0",
    ),
    *(
        "[" * 5000,
        '{"a":' * 3000,
        "--nope",
        "-z",
        "0",
        "-0",
        "1,2,3",
        "a=1 b=2",
        '{"b64": "!"}',
        "\u202e",
        "m@1",
        "m@x",
        "@1",
    ),
]


def failed(result: Any) -> bool:
    """Whether a command ended as a bug, or with an undocumented exit code."""
    return result.code not in EXPECTED or "this is a bug in tfsctl" in result.stderr


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file of rows."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    Path("rows.csv").write_text("x,t\n1,a\n2,b\n")
    return tmp_path / "work"


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("metadata_too", [True, False], ids=["all", "answers"])
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_answers_of_a_server(run_cli: RunCli, over: str, metadata_too: bool) -> None:
    """Mutated metadata, predictions and states; failing statuses; broken JSON and messages."""
    serve = mutating_rest if over == "rest" else mutating_grpc
    mutations = Mutations(random.Random(), metadata_too)
    with serve(mutations) as port:
        for seed in range(40):
            mutations.random.seed(seed)
            query = QUERIES[seed % len(QUERIES)]
            address = ["--model", "m"] if query[0] not in ("status", "wait") else []
            address += [f"--{over}", "--host", "127.0.0.1", "--port", str(port), "--timeout", "5"]
            argv = [query[0], *address, *query[1:]]
            result = run_cli(*argv, stdin=CONVERSATION if query[0] == "repl" else "x=1 t=a\n")
            assert not failed(result), (seed, argv, result.stderr[-3000:])


def option_names(command: Any) -> list[str]:
    """The long options of a command."""
    return [name for parameter in command.params for name in parameter.opts if name.startswith("--")]


ODD_STDIN: list[str | bytes] = ["", "x\n", b"\xff\n", "[" * 5000]
NEVER_FUZZED = {"--verbose", "--watch", "--follow", "--all", "--detach", "--install-completion", "--show-completion"}


def command_lines() -> dict[str, Any]:
    """Every command, and every command of a group, by its words. Those that load TensorFlow or start servers are left out."""
    group: Any = root_command()
    found = {}
    for name in COMMANDS:
        if name not in ("export", "run", "serve", "restart", "compare"):
            command = group.get_command(None, name)
            for child, one in getattr(command, "commands", {"": command}).items():
                found[f"{name} {child}".strip()] = one
    return found


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("name", command_lines())
def test_no_argument_ends_with_a_bug(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Options and arguments with odd values. Nothing is sent: the port is closed."""
    monkeypatch.setenv("PATH", "/nonexistent")  # no docker
    command, words = command_lines()[name], name.split()
    options = [option for option in option_names(command) if option not in NEVER_FUZZED]
    chosen = random.Random(name)
    for seed in range(60):
        argv = list(words)
        if "--port" in options:
            argv += ["--host", "127.0.0.1", "--port", "9", "--timeout", "0.2"]
        for _ in range(chosen.randrange(4)):
            option = chosen.choice(options or ["--help"])
            argv += [option, *[chosen.choice(ODD_TEXTS)] * (chosen.random() < 0.7)]
        argv += [chosen.choice(ODD_TEXTS) for _ in range(chosen.randrange(3))]
        result = run_cli(*argv, stdin=chosen.choice(ODD_STDIN))
        assert not failed(result), (seed, argv, result.stderr[-3000:])


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    "suffix", ["csv", "tsv", "json", "jsonl", "txt", "npy", "npz", "parquet", "tfrecord", "png", "gz"]
)
def test_no_file_ends_with_a_bug(run_cli: RunCli, rows: Path, suffix: str) -> None:
    """Random bytes, and valid beginnings, in files of every kind."""
    chosen = random.Random(suffix)
    starts = [
        b"",
        b"x,t\n1,a\n",
        b'{"x": 1, "t": "a"}\n',
        b"[",
        b"\x93NUMPY\x01\x00",
        b"PK\x03\x04",
        b"PAR1",
        b"\x1f\x8b",
        b"\xff\xfe",
    ]
    mutations = Mutations(random.Random(1), metadata_too=False)
    with mutating_rest(mutations) as port:
        for seed in range(25):
            noise = bytes(chosen.choice(b'x,t\n1"[]{}:\x00\xff.e-') for _ in range(chosen.randrange(60)))
            file = rows / f"f{seed}.{suffix}"
            file.write_bytes(chosen.choice(starts) + noise)
            argv = ["predict", "--model", "m", "--host", "127.0.0.1", "--port", str(port), "--file", file.name]
            argv += ["--on-error", "skip", "--output", f"o{seed}.csv"] * (seed % 2)
            result = run_cli(*argv)
            assert not failed(result), (seed, argv, file.read_bytes(), result.stderr[-3000:])
            argv = [
                "predict",
                "--model",
                "m",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "-i",
                f"x=@{file.name}",
                "-i",
                "t=a",
            ]
            result = run_cli(*argv, "--labels", file.name)
            assert not failed(result), (seed, argv, file.read_bytes(), result.stderr[-3000:])


@pytest.mark.parametrize("argv", [("metadata", "{}"), ("sample", "{}"), ("compose", "{}"), ("serve", "--dry-run", "{}"), ("serve", "--dry-run", "--config", "{}/config"), ("serve", "--dry-run", "--batching-file", "{}/config", "{}")], ids=" ".join)  # fmt: skip
def test_no_model_directory_ends_with_a_bug(
    run_cli: RunCli, rows: Path, echo_dir: Path, monkeypatch: pytest.MonkeyPatch, argv: Sequence[str]
) -> None:
    """Damaged SavedModels, manifests and config files, and directories in the place of files."""
    monkeypatch.setenv("PATH", "/nonexistent")
    mutations = Mutations(random.Random(2))
    content = (echo_dir / "7" / "saved_model.pb").read_bytes()
    manifest = {"signatures": {"serving_default": {"samples": [{"x": 1}], "row_independent": True}}, "source": {}}
    config = b'model_config_list { config { name: "m" base_path: "/tmp" model_platform: "tensorflow" } }'
    for seed in range(20):
        base = rows / f"m{seed}"
        (base / "1" / "assets.extra").mkdir(parents=True)
        (base / "1" / "saved_model.pb").write_bytes(mutations.message(content))
        (base / "1" / "assets.extra" / "tfsctl_manifest.json").write_bytes(mutations.body(manifest))
        (base / "1" / "fingerprint.pb").write_bytes(mutations.message(b"\x08\x01\x10\x02"))
        (base / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(mutations.message(b"\x00" * 16))
        (base / "config").write_bytes(mutations.message(config))
        result = run_cli(*(word.format(base) for word in argv))
        assert not failed(result), (seed, argv, result.stderr[-3000:])


ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None, "TFSCTL_STATE_DIR": None, "XDG_STATE_HOME": None},
    "home is a file": {"HOME": "/dev/null", "TFSCTL_STATE_DIR": None},
    "state is a file": {"TFSCTL_STATE_DIR": "/dev/null"},
    "state is too long": {"TFSCTL_STATE_DIR": "/" + "a" * 5000},
    "state is /proc": {"TFSCTL_STATE_DIR": "/proc/nope"},
    "no locale": {"LANG": "nope", "LC_ALL": "xx_YY.nope", "PYTHONUTF8": "0"},
    "ascii": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"},
    "odd terminal": {"TERM": "nope", "COLUMNS": "-3", "LINES": "x", "NO_COLOR": "x", "FORCE_COLOR": "y"},
    "narrow": {"COLUMNS": "0"},
    "proxies": {"ALL_PROXY": "socks9://[", "HTTP_PROXY": "http://a:b", "HTTPS_PROXY": "::", "NO_PROXY": "["},
    "options": {"TFSCTL_PORT": "x", "TFSCTL_TIMEOUT": "nan", "TFSCTL_GRPC": "maybe"},
    "hosts": {"TFSCTL_HOST": "[", "TFSCTL_MODEL": ""},
    "urls": {"TFSCTL_URL": "http://[::1", "TFSCTL_PROXY": "%"},
    "bytes": {"TFSCTL_MODEL": os.fsdecode(b"\xff\xfe"), "TFSCTL_LABEL": os.fsdecode(b"\xff"), "HOME": os.fsdecode(b"/\xff")},
    "tls": {"TFSCTL_CA": "/", "TFSCTL_CERT": "/dev/null", "SSL_CERT_FILE": "/", "SSL_CERT_DIR": "/dev/null"},
    "temporary": {"TMPDIR": "/nonexistent", "XDG_CONFIG_HOME": "/dev/null", "TFSCTL_CONFIG": "/"},
}  # fmt: skip


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_environment_ends_with_a_bug(
    run_cli: RunCli, echo_dir: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    """Variables with odd values, for commands that read state, directories and servers."""
    monkeypatch.setenv("PATH", "/nonexistent")
    for name, value in ENVIRONMENTS[environment].items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    mutations = Mutations(random.Random(3), metadata_too=False)
    with mutating_rest(mutations) as port:
        for argv in (
            ("ps",),
            ("ps", "--all", "--json"),
            ("stop", "m"),
            ("logs",),
            ("status",),
            ("predict", "1"),
            ("predict", "--port", str(port), "--model", "m", "x=1", "t=a"),
            ("classify", "--port", str(port), "x=1"),
            ("repl", "--port", str(port), "--model", "m"),
            ("metadata", str(echo_dir)),
            ("metadata", str(echo_dir), "--json"),
            ("sample", str(echo_dir)),
            ("serve", str(echo_dir), "--engine", "embedded", "--dry-run"),
            ("compose", str(echo_dir)),
            ("explain", "Connection refused"),
        ):
            result = run_cli(*argv, stdin="x=1 t=a\n")
            assert not failed(result), (argv, result.stderr[-3000:])


@pytest.mark.parametrize(
    "redirected", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-", ">/dev/full", "<.", "2>/dev/full"]
)
def test_no_stream_ends_with_a_bug(tmp_path: Path, echo_dir: Path, redirected: str) -> None:
    """Closed streams, full disks, and a directory as standard input."""
    for argv in (("metadata", str(echo_dir)), ("explain",)):
        done = subprocess.run(
            ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-m", "tfsctl", *argv],
            env=clean_environment(tmp_path),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=240,
            check=False,
        )
        assert done.returncode != ExitCode.BUG, (argv, done.stderr[-3000:])
        assert b"Traceback" not in done.stderr, (argv, done.stderr[-3000:])


def test_a_working_directory_that_is_gone(tmp_path: Path, echo_dir: Path) -> None:
    """Every path is relative to nothing."""
    folder = tmp_path / "gone"
    for argv in (
        "ps",
        "metadata .",
        "serve x --dry-run",
        "predict --model m --port 9 --file x.csv",
        f"metadata {echo_dir}",
    ):
        folder.mkdir()
        done = subprocess.run(
            ["sh", "-c", f'rmdir "$PWD"; exec {sys.executable} -m tfsctl {argv}'],
            env=clean_environment(tmp_path),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode != ExitCode.BUG, (argv, done.stderr[-3000:])
        assert "Traceback" not in done.stderr, (argv, done.stderr[-3000:])


def test_no_printable_character_ends_with_a_bug(run_cli: RunCli, rows: Path) -> None:  # noqa: ARG001
    """Every printable character as an input, in one request to a closed port and as text of `explain`."""
    for character in string.printable:
        for argv in (
            ("explain", character * 3),
            ("predict", "--port", "9", "--timeout", "0.2", "--model", character, "1"),
        ):
            assert not failed(run_cli(*argv)), argv
