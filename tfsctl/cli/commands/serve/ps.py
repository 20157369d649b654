"""`tfsctl ps`: list the servers that tfsctl started, their models, and their CPU and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.output import terminal
from tfsctl.engines.exit_reasons import describe_status

if TYPE_CHECKING:
    from tfsctl.core.types import VersionStatus
    from tfsctl.engines.registry.overview import ServerReport

COLUMNS = ("name", "engine", "models", "REST", "gRPC", "status", "CPU", "memory", "image")
LOOPBACK = "127.0.0.1"
NO_VALUE = "-"
MAX_REASON_CHARS = 200
UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def ps(
    *,
    show_all: Annotated[
        bool, typer.Option("--all", "-a", help="Include processes that have ended and containers that were removed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the servers that tfsctl started.

    Shows the state of each model version. For containers, also shows the image, the health and the limits. A container
    that has ended is listed until `tfsctl stop` removes it.

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
        terminal.say_note("the Docker daemon does not respond, so the state of containers is unknown")
    if as_json:
        terminal.answer_json({"servers": [_document(report) for report in reports]})
    elif reports:
        rows = [_row(report) for report in reports]
        if terminal.is_interactive() and not any(report.facts for report in reports):
            terminal.answer_table(COLUMNS[:-1], [row[:-1] for row in rows])  # no container, so no image
        else:
            terminal.answer_table(COLUMNS, rows)
    else:
        terminal.say("no servers are running; start one with: tfsctl serve PATH")


def _document(report: ServerReport) -> dict[str, Any]:
    """A report as JSON values: the server's record, with its models by name."""
    models = {name: _versions_document(name, versions, report) for name, versions in report.models.items()}
    usage = {"cpu_percent": None, "memory_bytes": None} if report.usage is None else asdict(report.usage)
    uptime_s = None if report.uptime_s is None else round(report.uptime_s, 1)
    return (
        asdict(report.server)
        | {"models": models, "state": report.state, "uptime_s": uptime_s}
        | usage
        | _container_document(report)
        | _exit_document(report)
        | {"front": _front_document(report)}
    )


def _front_document(report: ServerReport) -> dict[str, Any] | None:
    """Whether the Envoy of a front runs, and how often it was started, as JSON values; None for other servers."""
    if not report.is_front or report.uptime_s is None:
        return None
    from tfsctl.rollout.front.front_files import FrontFiles

    state = FrontFiles(report.server.name).read()
    if state is None:
        return None
    return {"envoy_running": state.envoy is not None and state.envoy.runs, "envoy_starts": state.envoy_starts}


def _container_document(report: ServerReport) -> dict[str, Any]:
    """The properties that only a container has, as JSON values; null for a process."""
    facts = report.facts
    if facts is None:
        return dict.fromkeys(("image", "health", "restart", "cpu_limit", "memory_limit_bytes", "pids_limit"))
    limits = facts.limits
    return {
        "image": facts.image,
        "health": facts.health,
        "restart": facts.restart,
        "cpu_limit": limits.cpus,
        "memory_limit_bytes": limits.memory_bytes,
        "pids_limit": limits.pids,
    }


def _exit_document(report: ServerReport) -> dict[str, Any]:
    """How the server ended, as JSON values; null for a server that runs, and where it is not known."""
    status, ended_at = (None, None) if report.exit is None else report.exit
    return {"exit_status": status, "ended_at": ended_at, "cause": report.cause or None}


def _versions_document(name: str, versions: Sequence[VersionStatus] | str, report: ServerReport) -> dict[str, Any]:
    if isinstance(versions, str):
        return {"versions": [], "error": versions}
    documents = [asdict(version) | {"load_error": _load_error(name, version, report) or None} for version in versions]
    return {"versions": documents, "error": None}


def _load_error(name: str, version: VersionStatus, report: ServerReport) -> str:
    """Why a version that is not loaded yet could not be loaded before; empty if that did not happen."""
    from tfsctl.engines.registry.overview import LOADING_STATES

    return report.load_failures.get((name, version.version), "") if version.state in LOADING_STATES else ""


def _row(report: ServerReport) -> list[str]:
    """A report as the cells of `COLUMNS`."""
    server, usage, facts = report.server, report.usage, report.facts
    models = [_model(name, versions, report) for name, versions in report.models.items()] or list(server.models)
    cpus, memory = (facts.limits.cpus, facts.limits.memory_bytes) if facts else (None, None)
    return [
        server.name,
        server.engine,
        ("\n" if terminal.is_interactive() else "; ").join(models),
        _port(server.bind_address or server.host, server.rest_port),
        _port(server.bind_address or server.host, server.grpc_port) + (" (TLS)" if server.certificate else ""),
        _state(report),
        NO_VALUE if usage is None else f"{usage.cpu_percent:.0f}%" + (f" / {100 * cpus:.0f}%" if cpus else ""),
        NO_VALUE if usage is None else _megabytes(usage.memory_bytes) + (f" / {_megabytes(memory)}" if memory else ""),
        facts.image if facts else NO_VALUE,
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


def _state(report: ServerReport) -> str:
    """`up 3 min (healthy)`, or how the server ended: `ended (SIGKILL) 10 s ago: CAUSE`, `exited (137) 10 s ago: CAUSE`."""
    health = report.facts.health if report.facts else None
    if report.uptime_s is not None:
        front = _front_document(report)
        details = health if front is None else _front_state(front)
        return f"up {_duration(report.uptime_s)}" + (f" ({details})" if details else "")
    text = report.state
    if report.exit is not None:
        text += "" if report.facts else f" ({describe_status(report.exit.status)})"  # Docker's word includes it
        text += f" {_duration(max(0.0, time.time() - report.exit.ended_at))} ago"
    return f"{text}: {report.cause}" if report.cause else text


def _front_state(front: Mapping[str, Any]) -> str:
    if not front["envoy_running"]:
        return "Envoy is not running"
    restarts = front["envoy_starts"] - 1
    return "behind Envoy" + (f", restarted {restarts} time{'s' if restarts > 1 else ''}" if restarts else "")


def _model(name: str, versions: Sequence[VersionStatus] | str, report: ServerReport) -> str:
    """A model's versions and their states; versions that have ended only if there are no others."""
    if isinstance(versions, str):
        return f"{name}: {versions}"
    shown = [version for version in versions if version.state != "END"] or versions
    return f"{name} {', '.join(_version(name, version, report) for version in shown)}"


def _version(name: str, version: VersionStatus, report: ServerReport) -> str:
    reason = _load_error(name, version, report)
    if len(reason) > MAX_REASON_CHARS:
        reason = f"{reason[:MAX_REASON_CHARS]}…"
    return f"{version.version} {version.state}" + (f" (the last attempt failed: {reason})" if reason else "")


def _port(host: str, port: int) -> str:
    """A port, with its address unless that is 127.0.0.1."""
    if not port:
        return NO_VALUE
    address = f"[{host}]" if ":" in host else host
    return str(port) if host == LOOPBACK else f"{address}:{port}"


def _duration(seconds: float) -> str:
    """A duration in its largest unit: `42 s`, `3 min`, `2 h`, `5 d`."""
    for length, unit in UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
