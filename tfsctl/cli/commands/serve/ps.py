"""`tfsctl ps`: list the servers that tfsctl started, their models, and their CPU and memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.output_options import Json
from tfsctl.cli.output import terminal
from tfsctl.engines.exit_reasons import describe_status

if TYPE_CHECKING:
    from tfsctl.core.types import VersionStatus
    from tfsctl.engines.registry.overview import ServerReport

COLUMNS = ("name", "engine", "models", "REST", "gRPC", "status", "CPU", "memory")
LOCALHOST = "127.0.0.1"
NOTHING = "-"
UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def ps(
    *,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Include servers that have ended.")] = False,
    as_json: Json = False,
) -> None:
    """List the servers that tfsctl started.

    Each is asked for the states of its versions. A container that has ended is listed until `tfsctl stop` removes it;
    a server whose tfsctl was killed while it started is listed too. --all includes processes that have ended, and why.

    \b
    Examples:
      tfsctl ps
      tfsctl ps --all
      tfsctl ps --json
    """
    from tfsctl.engines.registry import overview
    from tfsctl.engines.registry.tracked_server import UNKNOWN

    reports = overview.reports(with_ended=show_all)
    if any(report.state == UNKNOWN for report in reports):
        terminal.say("note: the Docker daemon does not answer, so it is not known which containers run")
    if as_json:
        terminal.answer_json({"servers": [_document(report) for report in reports]})
    elif reports:
        terminal.answer_table(COLUMNS, [_row(report) for report in reports])
    else:
        terminal.say("no server runs that tfsctl started; tfsctl serve PATH starts one")


def _document(report: ServerReport) -> dict[str, Any]:
    """A report as JSON values: the server's record, with its models by name."""
    models: dict[str, Any] = {name: _versions_document(versions) for name, versions in report.models.items()}
    usage = {"cpu_percent": None, "memory_bytes": None} if report.usage is None else asdict(report.usage)
    uptime_s = None if report.uptime_s is None else round(report.uptime_s, 1)
    return (
        asdict(report.server)
        | {"models": models, "state": report.state, "uptime_s": uptime_s}
        | usage
        | _exit_document(report)
    )


def _exit_document(report: ServerReport) -> dict[str, Any]:
    """How the server ended, as JSON values; null for a server that runs, and where it is not known."""
    status, ended_at = (None, None) if report.exit is None else report.exit
    return {"exit_status": status, "ended_at": ended_at, "cause": report.cause or None}


def _versions_document(versions: Sequence[VersionStatus] | str) -> dict[str, Any]:
    if isinstance(versions, str):
        return {"versions": [], "error": versions}
    return {"versions": [asdict(version) for version in versions], "error": None}


def _row(report: ServerReport) -> list[str]:
    """A report as the cells of `COLUMNS`."""
    server, usage = report.server, report.usage
    models = [_model(name, versions) for name, versions in report.models.items()] or list(server.models)
    return [
        server.name,
        server.engine,
        ("\n" if sys.stdout.isatty() else "; ").join(models),
        _port(server.host, server.rest_port),
        _port(server.host, server.grpc_port),
        _state(report),
        NOTHING if usage is None else f"{usage.cpu_percent:.0f}%",
        NOTHING if usage is None else f"{usage.memory_bytes / 1e6:.0f} MB",
    ]


def _state(report: ServerReport) -> str:
    """`up 3 min`, or how the server ended: `ended (SIGKILL) 10 s ago: CAUSE`, `exited (137) 10 s ago: CAUSE`."""
    if report.uptime_s is not None:
        return f"up {_duration(report.uptime_s)}"
    text = report.state
    if report.exit is not None:
        text += "" if report.facts else f" ({describe_status(report.exit.status)})"  # Docker's word includes it
        text += f" {_duration(max(0.0, time.time() - report.exit.ended_at))} ago"
    return f"{text}: {report.cause}" if report.cause else text


def _model(name: str, versions: Sequence[VersionStatus] | str) -> str:
    """A model's versions and their states; versions that have ended only if there are no others."""
    if isinstance(versions, str):
        return f"{name}: {versions}"
    shown = [version for version in versions if version.state != "END"] or versions
    return f"{name} {', '.join(f'{version.version} {version.state}' for version in shown)}"


def _port(host: str, port: int) -> str:
    """A port, with its address unless that is 127.0.0.1."""
    if not port:
        return NOTHING
    address = f"[{host}]" if ":" in host else host
    return str(port) if host == LOCALHOST else f"{address}:{port}"


def _duration(seconds: float) -> str:
    """A duration in its largest unit: `42 s`, `3 min`, `2 h`, `5 d`."""
    for length, unit in UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
