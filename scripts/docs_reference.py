"""The pages of the documentation that are generated: every command with its options, every flag of the embedded server."""

from __future__ import annotations

import inspect
import json
import re
import runpy
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from tfsctl.cli.registry import COMMANDS, LazyCommandGroup
from tfsctl.cli.usage.headings import heading, order
from tfsctl.cli.usage.help_format import help_record
from tfsctl.server.config.flags import Flags

OURS = " (not a flag of tensorflow_model_server)"
COMMANDS_HEAD = """\
# Commands

This page is generated from the commands. `tfsctl COMMAND --help` prints the same.
"""
FLAGS_HEAD = """\
# Flags of tfsctl-model-server

This page is generated from the flags of the embedded server. `tfsctl-model-server --help` prints
the same. Flags marked (tfsctl) do not exist in TensorFlow Serving. Defaults that depend on
the number of CPUs are those of the machine that built this page.
"""


def commands() -> str:
    """One section for each command, with its usage, arguments, options and examples."""
    group = LazyCommandGroup(name="tfsctl")
    context = typer.Context(group, info_name="tfsctl")
    parts = [COMMANDS_HEAD]
    for name in COMMANDS:
        parts += _command_section(context, group.commands[name], name)
    return "\n".join(parts)


def _command_section(parent: typer.Context, command: Any, name: str, level: int = 2) -> list[str]:  # noqa: ANN401 - click's
    context = typer.Context(command, info_name=name, parent=parent)
    description, _, examples = inspect.cleandoc(command.help or "").partition("Examples:")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"{'#' * level} {context.command_path}\n", f"```text\n{usage}\n```\n", _paragraphs(description)]
    for title, rows in _parameters(context, command).items():
        parts.append(
            f"| {title} | |\n|---|---|\n"
            + "\n".join(f"| {_code(left)} | {_cell(right)} |" for left, right in rows)
            + "\n"
        )
    if examples.strip():
        parts.append("```text\n" + inspect.cleandoc(examples.replace("\b", "")).strip("\n") + "\n```\n")
    for child_name, child in getattr(command, "commands", {}).items():
        parts += _command_section(context, child, child_name, level + 1)
    return parts


def _parameters(context: typer.Context, command: Any) -> dict[str, list[tuple[str, str]]]:  # noqa: ANN401 - click's
    """Title of a group of options -> the two columns of its help."""
    groups: dict[str, list[tuple[str, str]]] = {}
    path = context.command_path.partition(" ")[2]
    for parameter in command.get_params(context):
        record = help_record(parameter, context)
        if record is None:
            continue
        is_argument = parameter.param_type_name == "argument"
        title = "Arguments" if is_argument else heading(path, [*parameter.opts, *parameter.secondary_opts])
        groups.setdefault(title, []).append(record)
    return dict(sorted(groups.items(), key=lambda item: -1 if item[0] == "Arguments" else order(item[0])))


def flags() -> str:
    """One table of all flags of the embedded server."""
    return FLAGS_HEAD + "\n" + _flag_table()


def _flag_table() -> str:
    rows = []
    for flag in fields(Flags):
        if not flag.metadata["hidden"]:
            text = flag.metadata["text"]
            name = f"`--{flag.name}`" + (" (tfsctl)" if OURS in text else "")
            default = f"`{flag.default}`" if flag.default != "" else ""
            rows.append(f"| {name} | {default} | {_cell(text.replace(OURS, ''))} |")
    return "| flag | default | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def known_differences(path: Path) -> str:
    """One table of the recorded answers of TensorFlow Serving that ours differ from, read from a module of the tests."""
    tables = runpy.run_path(str(path))
    rows = dict(tables["COUNTED"])
    for server, differences in tables["OTHER_SERVERS"].items():
        rows |= {f"{name} (server {server})": reason for name, reason in differences.items()}
    rows |= {f"{name} (compared by kind only)": reason for name, reason in tables["MERGED_ANSWERS"].items()}
    lines = [f"| {_cell(name)} | {_cell(reason)} |" for name, reason in rows.items()]
    return "\n".join(["| recorded request | reason |", "|---|---|", *lines])


def quick_benchmarks(path: Path) -> str:
    """One table of what `make bench-quick` wrote, and when and where it was measured."""
    measured = json.loads(path.read_text(encoding="utf-8"))
    ratios = {(one["protocol"], one["workload"], one["merging"]): one["ratio"] for one in measured["results"]}
    rows = sorted({(protocol, workload) for protocol, workload, _ in ratios})
    lines = [
        f"| {'gRPC' if protocol == 'grpc' else 'REST'} | {workload} | {ratios[protocol, workload, 'merged']} | {ratios[protocol, workload, 'single']} |"
        for protocol, workload in rows
    ]
    where = (
        f"Measured on {measured['date']} with tfsctl {measured['version']}, Python {measured['python']}, "
        f"{measured['cpus']} CPUs, {measured['connections']} connections; medians of {measured['rounds']} rounds."
    )
    return "\n".join(["| protocol | request | merged | not merged |", "|---|---|---|---|", *lines, "", where])


def _paragraphs(text: str) -> str:
    """The description. A paragraph that begins with a backspace is not wrapped: a line of text, and a list below it."""
    return "\n\n".join(map(_paragraph, text.split("\n\n"))).strip() + "\n"


def _paragraph(text: str) -> str:
    if not text.startswith("\b\n"):
        return text
    title, _, lines = text.removeprefix("\b\n").partition("\n")
    return f"{title}:\n\n```text\n{inspect.cleandoc(lines)}\n```" if lines else title


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
