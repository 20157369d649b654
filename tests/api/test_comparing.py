"""`tfsctl.compare`: the command's comparison as a value, and as a DataFrame."""

from __future__ import annotations

from pathlib import Path

import pytest
from scale_models import write_scale_model

import tfsctl


@pytest.mark.server
def test_compare_reports_slices_and_thresholds(tmp_path: Path) -> None:
    """Two versions on the rows of a file, with a slice and a threshold."""
    for version, factor in ((1, 2.0), (2, 2.5)):
        write_scale_model(tmp_path / "double" / str(version), factor)
    file = tmp_path / "rows.csv"
    file.write_text("x,label,country\n" + "".join(f"{x},{2 * x},{('CH', 'DE')[x % 2]}\n" for x in range(1, 41)))
    found = tfsctl.compare(
        tmp_path / "double" / "1",
        tmp_path / "double" / "2",
        file=file,
        target="label",
        task="regression",
        slices=["country"],
        fail_if=["mae.delta>100"],
    )
    frame = found.to_frame()

    assert isinstance(found, tfsctl.Comparison)
    assert (found.agreement, found.passed, found.rows) == (0.0, True, 40)
    assert frame.loc["all", "mae.b"] == pytest.approx(0.5 * 20.5)
    assert sorted(frame.index) == ["all", "country=CH", "country=DE"]
    assert frame.loc["country=CH", "rows"] == 20
    assert "0.00% of 40 rows agree" in repr(found)


def test_mistakes_name_keyword_arguments() -> None:
    """Errors are those of the command, with hints for Python."""
    with pytest.raises(tfsctl.InvalidInput, match="target needs"):
        tfsctl.compare("a", "b", file="x.csv", target="label")
