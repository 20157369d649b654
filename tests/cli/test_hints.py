"""Every hint names commands and options that exist, and the hints of common mistakes are followed until they work.

The hints are found in the syntax tree, so a new hint is checked without being listed here.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from cli_runner import Result, RunCli
from locations import ROOT

from tfsctl.cli import app
from tfsctl.cli.registry import COMMANDS

COMMAND = re.compile(r"(?<![\w/.-])tfsctl ([a-z][a-z-]*)(?: ([a-z]+))?")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?![\w-]*_)")
# Words after "tfsctl" where it is the subject of a sentence.
VERBS = {"copies", "did", "finds", "knows", "reads", "runs", "started", "takes"}
# Options in hints about other programs.
OTHER_PROGRAMS = {"append", "groups", "recursive", "force", "force-reinstall", "help", "upgrade", "user"}


def _hints() -> Iterator[tuple[str, str]]:
    """The place and the template of every hint; `X` stands for a value."""
    for file in sorted((ROOT / "tfsctl").rglob("*.py")):
        if "server" in file.relative_to(ROOT).parts[1:2]:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for expression in _hint_expressions(node):
                for text in _texts(expression):
                    yield f"{file.relative_to(ROOT)}:{expression.lineno}", text


@cache
def hints() -> list[tuple[str, str]]:
    """All of them, found once in a process that needs them."""
    return list(_hints())


def _hint_expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "hint")
        if isinstance(node.func, ast.Name) and node.func.id == "KnownError" and len(node.args) == 3:
            yield node.args[2]
    if isinstance(node, ast.Assign):
        names = [
            target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "") for target in node.targets
        ]
        if any(name.lower().strip("_") == "hint" or name.lower().endswith("_hint") for name in names):
            yield node.value


def _texts(node: ast.expr) -> list[str]:
    """The texts that an expression may be."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [
            "".join(
                "X" if isinstance(part, ast.FormattedValue) else str(getattr(part, "value", "")) for part in node.values
            )
        ]
    if isinstance(node, ast.BinOp):
        return [left + right for left in _texts(node.left) or ["X"] for right in _texts(node.right) or ["X"]]
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body), *_texts(node.orelse)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _texts(value)]
    return []


def options_of(command: Any) -> set[str]:
    """The long options of a command, without dashes; of its subcommands too."""
    found = {name[2:] for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}
    return found.union(*(options_of(one) for one in getattr(command, "commands", {}).values())) | {"help"}


ROOT_COMMAND: Any = typer.main.get_command(app)
OPTIONS = {name: options_of(ROOT_COMMAND.get_command(None, name)) for name in COMMANDS}


def test_hints_are_found() -> None:
    """In every package that raises errors."""
    assert len(hints()) > 250
    assert {"cli", "clients", "core", "data", "diagnosis", "engines", "exporter", "inputs"} <= {
        place.split("/")[1] for place, _ in hints()
    }


def test_commands_in_hints_exist() -> None:
    """`tfsctl NAME` is a command."""
    wrong = [
        (place, text)
        for place, text in hints()
        for match in COMMAND.finditer(text)
        if match[1] not in {*COMMANDS, *VERBS}
    ]
    assert wrong == []


def test_options_in_hints_exist() -> None:
    """An option after `tfsctl NAME` is one of that command; any other is one of some command."""
    known = set().union(*OPTIONS.values()) | OTHER_PROGRAMS | options_of(ROOT_COMMAND)
    wrong = []
    for place, text in hints():
        for part in re.split(r"; |, or |, and |, then |\. | or ", text):
            match = next((one for one in COMMAND.finditer(part) if one[1] in COMMANDS), None)
            allowed = OPTIONS[match[1]] if match and "--server-arg" not in part else known
            wrong += [(place, text, name) for name in OPTION.findall(part) if name not in allowed]
    assert wrong == []


# A command line that fails, and how its hint changes it. `Follow` gets the words and the hint, and returns other words.
Follow = Callable[[list[str], str], list[str]]


def append(words: list[str], hint: str) -> list[str]:
    """Add the options of the hint."""
    return [*words, *shlex.split(hint)]


def suggested(words: list[str], hint: str) -> list[str]:
    """Replace the value that is like the suggested one: `did you mean --option value?`."""
    option, _, value = hint.removeprefix("did you mean ").rstrip("?").partition(" ")
    if not value:
        wrong = next(
            word for word in words if word.startswith("--") and word not in {f"--{name}" for name in OPTIONS[words[0]]}
        )
        return [option if word == wrong else word for word in words]
    changed = list(words)
    changed[changed.index(option) + 1] = value
    return changed


def dashes(words: list[str], _hint: str) -> list[str]:
    """Put `--` before the last word."""
    return [*words[:-1], "--", words[-1]]


def command(_words: list[str], hint: str) -> list[str]:
    """Run the command of the hint."""
    return shlex.split(hint.partition("tfsctl ")[2].partition(";")[0])


def without_host(words: list[str], hint: str) -> list[str]:
    """Replace --host by the options of the hint."""
    at = words.index("--host")
    return [*words[:at], *words[at + 2 :], *shlex.split(hint.removeprefix("use "))]


def example(words: list[str], hint: str) -> list[str]:
    """Replace the last word by the example."""
    return [*words[:-1], *shlex.split(hint.removeprefix("for example: "))]


HALF = ["predict", "--model", "half_plus_two"]
SERVED: list[tuple[list[str], Follow]] = [
    (["predict", "--model", "half_plus_to", "1"], suggested),
    ([*HALF, "--signature", "serving_defalt", "1"], suggested),
    ([*HALF, "--onli", "y", "1"], suggested),
    ([*HALF, "--only", "yy", "1"], suggested),
    ([*HALF, "great"], example),
    (["predict", "--model", "house_price", "area=1"], example),
    (["predict", "--model", "house_price", "aera=1"], example),
    (["predict", "--model", "echo", "--signature", "text", "--great"], dashes),
    (["predict", "--model", "echo", "--signature", "text", "-hello there"], dashes),
    (["predict", "--model", "echo", "--signature", "text", "[x"], lambda words, _hint: [*words, "--text"]),
    (["predict", "--model", "echo", "--signature", "float16", "1"], lambda words, _hint: [*words, "--grpc"]),
    (["regress", "--model", "half_plus_two", "--signature", "serving_default", "x=1"],
     lambda words, hint: [*words[:4], hint.split()[1], *words[5:]]),
    ([*HALF, "--version", "99", "1"], lambda words, _hint: [*words[:3], words[-1]]),
    ([*HALF, "--resume", "1"], lambda words, _hint: [*words[:3], "1"]),
]  # fmt: skip


def hint_of(result: Result) -> str:
    """The hint on stderr."""
    return result.stderr.rpartition("hint: ")[2].strip()


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "follow"), SERVED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_hints_of_queries_are_followed(run_cli: RunCli, words: list[str], follow: Follow) -> None:
    """The command that the hint leads to is answered."""
    refused = run_cli(*words)
    assert refused.code != 0
    followed = follow(words, hint_of(refused))
    result = run_cli(*followed)
    assert result.code == 0, (refused.stderr, followed, result.stderr)


@pytest.mark.usefixtures("registered")
def test_hints_about_addresses_are_followed(run_cli: RunCli, registered: Any) -> None:
    """A host with a port, and swapped ports."""
    words = ["status", "echo", "--host", f"{registered.host}:{registered.rest_port}"]
    assert run_cli(*without_host(words, hint_of(run_cli(*words)))).code == 0
    words = ["status", "echo", "--host", f"http://{registered.host}:{registered.rest_port}"]
    assert run_cli(*without_host(words, hint_of(run_cli(*words)))).code == 0
    words = ["status", "echo", "--port", str(registered.grpc_port)]
    assert hint_of(run_cli(*words)) == f"add --grpc, or use --port {registered.rest_port}"
    assert run_cli(*words, "--grpc").code == 0


def test_hints_about_directories_are_followed(run_cli: RunCli, echo_dir: Path, tmp_path: Path) -> None:
    """A folder of models, a file inside a model, and a version that is not there."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "echo").symlink_to(echo_dir)
    for words in (
        ["serve", "--dry-run", "--engine", "embedded", str(tmp_path / "models")],
        ["metadata", str(tmp_path / "models")],
    ):
        followed = command(words, hint_of(run_cli(*words)))
        assert run_cli(*followed, *words[1:-1]).code == 0
    words = ["serve", str(echo_dir / "7" / "saved_model.pb")]
    assert run_cli(*command(words, hint_of(run_cli(*words))), "--dry-run", "--engine", "embedded").code == 0
    words = ["metadata", str(echo_dir), "--version", "99"]
    assert run_cli(*words[:-1], hint_of(run_cli(*words)).rpartition(" ")[2]).code == 0
