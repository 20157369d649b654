"""Write the man pages and the shell completions that the wheel installs: write_man_pages.py FOLDER [--check].

They are generated from the commands, and kept in share/ so that building the wheel needs none of tfsctl's dependencies.
With --check nothing is written, and the exit code is 1 if a file differs.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import typer
from typer._completion_shared import get_completion_script

from tfsctl.cli.registry import COMMANDS, LazyCommandGroup
from tfsctl.cli.usage.headings import heading
from tfsctl.cli.usage.help_format import help_record
from tfsctl.errors import ExitCode

COMPLETIONS = {
    "bash": "bash-completion/completions/tfsctl",
    "zsh": "zsh/site-functions/_tfsctl",
    "fish": "fish/vendor_completions.d/tfsctl.fish",
}


def files() -> dict[str, str]:
    """Path below share/ -> content."""
    group = LazyCommandGroup(name="tfsctl")
    context = typer.Context(group, info_name="tfsctl")
    found = {"man/man1/tfsctl.1": _overview()}
    for name in COMMANDS:
        for path, command, own in _leaves(context, group.commands[name], name):
            found[f"man/man1/{path.replace(' ', '-')}.1"] = _page(path, command, own)
    for shell, path in COMPLETIONS.items():
        found[path] = get_completion_script(prog_name="tfsctl", complete_var="_TFSCTL_COMPLETE", shell=shell) + "\n"
    return found


def _leaves(parent: typer.Context, command: Any, name: str) -> list[tuple[str, Any, typer.Context]]:  # noqa: ANN401 - click's
    context = typer.Context(command, info_name=name, parent=parent)
    children = getattr(command, "commands", {})
    found = [leaf for child, one in children.items() for leaf in _leaves(context, one, child)]
    return found or [(context.command_path, command, context)]


def _overview() -> str:
    lines = [
        _head("tfsctl", "take a TensorFlow model to production"),
        ".SH SYNOPSIS",
        ".B tfsctl",
        "COMMAND [OPTIONS] …",
    ]
    lines.append(".SH COMMANDS")
    for name, command in COMMANDS.items():
        lines += [".TP", f".BR tfsctl\\-{name} (1)", _text(command.summary)]
    lines.append(".SH EXIT STATUS")
    for code in ExitCode:
        lines += [".TP", f".B {code.value}", code.name]
    return "\n".join(lines) + "\n"


def _page(path: str, command: Any, context: typer.Context) -> str:  # noqa: ANN401 - click's
    description, _, examples = inspect.cleandoc(command.help or "").partition("Examples:")
    summary, _, rest = description.partition("\n")
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    lines = [_head(path, summary.strip().removesuffix(".")), ".SH SYNOPSIS", _text(usage), ".SH DESCRIPTION"]
    lines += [_text(summary), *([".PP", _paragraphs(rest)] if rest.strip() else [])]
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = help_record(parameter, context)
        if record is not None:
            is_argument = parameter.param_type_name == "argument"
            names = [*parameter.opts, *parameter.secondary_opts]
            groups.setdefault("Arguments" if is_argument else heading(path.partition(" ")[2], names), []).append(record)
    for title, records in groups.items():
        lines.append(f".SH {title.upper()}")
        for names_text, text in records:
            lines += [".TP", f".B {_text(names_text)}", _text(text)]
    if examples.strip():
        lines += [".SH EXAMPLES", ".nf", _paragraphs(inspect.cleandoc(examples)), ".fi"]
    lines += [".SH SEE ALSO", ".BR tfsctl (1)"]
    return "\n".join(lines) + "\n"


def _head(name: str, summary: str) -> str:
    title = name.replace(" ", "-")
    return f'.TH {title.upper()} 1 "" tfsctl\n.SH NAME\n{_text(title)} \\- {_text(summary)}'


def _paragraphs(text: str) -> str:
    """Text with blank lines between its paragraphs."""
    blocks = [block.strip("\n") for block in text.replace("\b", "").split("\n\n") if block.strip()]
    return "\n.PP\n".join("\n".join(map(_text, block.splitlines())) for block in blocks)


def _text(text: str) -> str:
    """A line of text with roff's characters escaped."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def main() -> None:
    """Write the files, or compare them."""
    folder, check = Path(sys.argv[1]), "--check" in sys.argv
    wanted = files()
    stale = [
        path for path, text in wanted.items() if not (folder / path).is_file() or (folder / path).read_text() != text
    ]
    left = [file for file in folder.rglob("*") if file.is_file() and str(file.relative_to(folder)) not in wanted]
    if check:
        if stale or left:
            raise SystemExit(f"not up to date: {', '.join(map(str, [*stale, *left]))}; run: make man")
        return
    for path, text in wanted.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for file in left:
        file.unlink()


if __name__ == "__main__":
    main()
