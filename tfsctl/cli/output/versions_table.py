"""Print the versions of models: on disk, with their states on servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import terminal
from tfsctl.cli.output.units import age_text, size_text

if TYPE_CHECKING:
    from tfsctl.rollout.inventory import ModelInventory, ModelVersion, ServedBy, ServerOfModel

COLUMNS = ("version", "age", "size", "signatures", "fingerprint", "manifest", "blessing", "served")


def document(model: ModelInventory) -> dict[str, Any]:
    """A model as JSON values. The keys are documented in docs/reference.md."""
    return {
        "model": model.name,
        "path": None if model.base is None else str(model.base),
        "versions": [_version_document(version) for version in model.versions],
        "servers": [asdict(server) for server in model.servers],
    }


def _version_document(version: ModelVersion) -> dict[str, Any]:
    blessing = version.blessing
    return {
        "version": version.version,
        "path": None if version.path is None else str(version.path),
        "created": version.created,
        "age_s": None if version.age_s is None else round(version.age_s),
        "size_bytes": version.size_bytes,
        "signatures": list(version.signatures),
        "fingerprint": version.fingerprint,
        "manifest": version.has_manifest,
        "blessing": None if blessing is None else {**asdict(blessing), "gates": list(blessing.gates)},
        "problem": version.problem,
        "served_by": [{**asdict(one), "labels": list(one.labels)} for one in version.served_by],
    }


def print_models(models: Sequence[ModelInventory]) -> None:
    """Print a table of the versions of each model, with a line for each server: its requests for the model, or an error.

    A server that does not count requests has one line after the last table.
    """
    uncounted = []
    for model in models:
        terminal.answer(f"{model.name}: {'(not on this machine)' if model.base is None else model.base}")
        terminal.answer_table(COLUMNS, [_row(version) for version in model.versions])
        for server in model.servers:
            if server.error or server.requests is not None:
                terminal.say(_server_line(server))
            else:
                uncounted.append(_server_line(server))
    for line in dict.fromkeys(uncounted):
        terminal.say(line)


def _row(version: ModelVersion) -> tuple[str, ...]:
    blessing = version.blessing
    separator = "\n" if terminal.is_interactive() else ", "
    return (
        str(version.version),
        "" if version.age_s is None else age_text(version.age_s),
        "" if version.size_bytes is None else size_text(version.size_bytes),
        version.problem or separator.join(version.signatures),
        _short(version.fingerprint),
        "yes" if version.has_manifest else "no",
        "" if blessing is None else "passed" if blessing.passed else "failed",
        separator.join(_served(one) for one in version.served_by if one.state != "END" or one.error_message),
    )


def _served(one: ServedBy) -> str:
    """`SERVER: STATE (LABELS)`, and the error if there is one."""
    labels = f" ({', '.join(one.labels)})" if one.labels else ""
    return f"{one.server}: {one.state}{labels}{' ' if one.error_message else ''}{one.error_message}"


def _short(fingerprint: str | None) -> str:
    """Eight digits that differ if the fingerprints do; the whole is in `--json`."""
    import hashlib

    return "" if fingerprint is None else hashlib.sha256(fingerprint.encode()).hexdigest()[:8]


def _server_line(server: ServerOfModel) -> str:
    if server.error:
        return f"{server.server}: {server.error}"
    if server.requests is None:
        return f"{server.server}: {server.address} (requests are not counted: tfsctl serve --metrics counts them)"
    counts = ", ".join(f"{count} {status}" for status, count in sorted(server.requests.items())) or "none"
    return f"{server.server}: {server.address}, requests: {counts}"
