"""How `tfsctl ps` shows a report, and the times that `tfsctl logs --since` takes."""

from __future__ import annotations

from datetime import datetime

import pytest

from tfsctl.cli.commands.serve.logs import parse_since
from tfsctl.cli.commands.serve.ps import COLUMNS, _document, _row
from tfsctl.core.types import VersionStatus
from tfsctl.engines.docker.inspection import ContainerFacts, ContainerLimits
from tfsctl.engines.registry.overview import ServerReport
from tfsctl.engines.registry.usage import Usage
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput
from tfsctl.programs.exit_records import ExitRecord

RECORD = ServerRecord(
    "shop", "docker", "127.0.0.1", 8501, 8500, ("m",), None, "c" * 64, 5.0, None, "0.0.0.0", certificate="/c.pem"
)
FACTS = ContainerFacts(
    id="c" * 64,
    server="shop",
    models=("m",),
    status="running",
    exit_status=0,
    out_of_memory=False,
    started_at=5.0,
    ended_at=None,
    pid=7,
    bind_address="0.0.0.0",
    rest_port=8501,
    grpc_port=8500,
    image="serving:1",
    health="healthy",
    restart="always",
    limits=ContainerLimits(1.5, 2 * 10**9, 4096),
    certificate=None,
    client_ca=None,
)
STATES = (
    VersionStatus(2, "LOADING", "OK", ""),
    VersionStatus(1, "AVAILABLE", "OK", ""),
)


def report(**more: object) -> ServerReport:
    """A report on a running container."""
    return ServerReport(RECORD, "running", {"m": STATES}, 180.0, Usage(12.0, 10**9), facts=FACTS, **more)  # type: ignore[arg-type]


def test_a_container_is_shown_with_what_docker_knows() -> None:
    """The address it listens on, TLS, its health, its limits and its image."""
    assert dict(zip(COLUMNS, _row(report()), strict=True)) == {
        "name": "shop",
        "engine": "docker",
        "models": "m 2 LOADING, 1 AVAILABLE",
        "REST": "0.0.0.0:8501",
        "gRPC": "0.0.0.0:8500 (TLS)",
        "status": "up 3 min (healthy)",
        "CPU": "12% / 150%",
        "memory": "1000 MB / 2000 MB",
        "image": "serving:1",
    }
    document = _document(report())
    shown = {
        key: document[key] for key in ("image", "health", "restart", "cpu_limit", "memory_limit_bytes", "pids_limit")
    }
    assert list(shown.values()) == ["serving:1", "healthy", "always", 1.5, 2 * 10**9, 4096]
    assert (document["bind_address"], document["certificate"]) == ("0.0.0.0", "/c.pem")


def test_a_version_that_keeps_loading_has_a_reason() -> None:
    """From the log: the server itself reports no error before it has given up."""
    failing = report(load_failures={("m", 2): "no such op", ("m", 1): "an earlier failure"})

    assert _row(failing)[2] == "m 2 LOADING (the last attempt failed: no such op), 1 AVAILABLE"
    assert [each["load_error"] for each in _document(failing)["models"]["m"]["versions"]] == ["no such op", None]


def test_an_ended_container_is_shown_with_its_reason() -> None:
    """Docker's text already includes the exit status."""
    ended = ServerReport(
        RECORD, "exited (137)", {}, None, None, exit=ExitRecord(137, 0.0), cause="it was killed", facts=FACTS
    )
    assert _row(ended)[5].startswith("exited (137) ")
    assert _row(ended)[5].endswith(" d ago: it was killed")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("0.5m", 30), ("0s", 0)]
)
def test_since_takes_a_duration(text: str, seconds: float) -> None:
    """Seconds, minutes, hours and days."""
    assert parse_since(text, now=10**6) == 10**6 - seconds


def test_since_takes_a_time_which_is_local_without_an_offset() -> None:
    """Local without an offset."""
    assert parse_since("1970-01-01T00:00:05Z", now=0) == 5.0
    assert parse_since("1970-01-01T01:00:05+01:00", now=0) == 5.0
    assert parse_since("2026-11-29", now=0) == datetime(2026, 11, 29).astimezone().timestamp()
    for text in ("yesterday", "10", "m", "10m ago", "2026-13-01", ""):
        with pytest.raises(InvalidInput, match="is not a duration or a time") as refused:
            parse_since(text, now=0)
        assert refused.value.hint == "use a duration or a time, e.g. --since 10m"
