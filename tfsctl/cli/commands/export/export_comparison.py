"""`export --compare`: compare the version that was just published with an earlier one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.cli.output import terminal
from tfsctl.core import model_dir
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.exporter.exported import ExportedModel
    from tfsctl.rollout.comparison.result import Comparison

LATEST = "latest"


def check_comparison_options(compare: str | None, rows: str | None, fail_if: list[str] | None, to: str) -> None:
    """Raise InvalidInput for options without a meaning, before the export."""
    for option, value in (("--rows", rows), ("--fail-if", fail_if)):
        if value and compare is None:
            raise InvalidInput(f"{option} is for a comparison", hint="add --compare latest")
    if compare is None:
        return
    from tfsctl.data.sources import check_exists
    from tfsctl.rollout.comparison.gates import parse_gate

    if compare != LATEST and model_dir.parse_version(compare) is None:
        raise InvalidInput(f"--compare {compare}: not a version", hint="--compare latest, or the number of a version")
    if "://" in to:
        raise InvalidInput(
            "--compare needs versions on this machine", hint="export to a directory, compare, and copy it"
        )
    for text in fail_if or ():
        parse_gate(text)
    if rows is not None:
        check_exists(rows)


def compare_with_earlier(
    exported: ExportedModel, compare: str, rows: str | None, fail_if: list[str] | None, *, quiet: bool
) -> Comparison | None:
    """Compare with the version that was latest before, or with the one of a number. None if there is no earlier version.

    Raises NotFound for a version that does not exist, and what a comparison raises.
    """
    from tfsctl.rollout.comparison.blessing import bless
    from tfsctl.rollout.comparison.request import ComparisonRequest, run

    earlier = _earlier(exported.base_path, exported.version, compare)
    if earlier is None:
        return None
    request = ComparisonRequest(file=rows, fail_if=fail_if or ())
    say = (lambda _text: None) if quiet else terminal.say
    found = run(str(earlier), str(exported.path), request, show_step=say, note=terminal.say)
    if found.passed and found.gates and (problem := bless(exported.path, found, data=request.rows_name)):
        terminal.say(f"the manifest does not note that version {exported.version} passed: {problem}")
    return found


def _earlier(base: Path, version: int, compare: str) -> Path | None:
    others = {one.version: one.path for one in model_dir.list_versions(base) if one.version != version}
    if compare == LATEST:
        return others[max(others)] if others else None
    wanted = model_dir.parse_version(compare)
    if wanted not in others:
        known = ", ".join(map(str, sorted(others))) or "none"
        raise NotFound(f"{base} has no version {compare}", hint=f"its other versions: {known}")
    return others[wanted]
