"""The path that was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsctl.core.similar_paths import similar_path_hint


def test_a_similar_name_in_the_same_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo, and an extension that was left out. The hint has the form of the path."""
    (tmp_path / "half_plus_two").mkdir()
    (tmp_path / "house_price.py").touch()
    monkeypatch.chdir(tmp_path)

    assert similar_path_hint("half_plus_tow") == "did you mean half_plus_two?"
    assert similar_path_hint("house_price") == "did you mean house_price.py?"
    assert similar_path_hint(tmp_path / "half_plus_tow") == f"did you mean {tmp_path}/half_plus_two?"
    assert similar_path_hint("house_price", only_directories=True) == ""


@pytest.mark.parametrize("path", ["", "zzz", "none/half_plus_two", "a\0b", "x" * 5000])
def test_no_similar_name(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing similar, no such directory, and paths that no system call takes."""
    (tmp_path / "half_plus_two").mkdir()
    monkeypatch.chdir(tmp_path)

    assert similar_path_hint(path) == ""
