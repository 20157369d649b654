"""docs/python.md is true: each line of its examples gives what stands below it."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from locations import ROOT

import tfsctl
from tfsctl import errors
from tfsctl.engines.server_record import ServerRecord

PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.server
def test_every_block_of_the_page_runs(
    registered: ServerRecord, sample_models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page, with a running server that has the sample models."""
    assert set(registered.models) >= {"half_plus_two", "house_price"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half_plus_two").symlink_to(sample_models_dir / "half_plus_two")
    (tmp_path / "houses.csv").write_text("id,area,city\n7,50,Paris\n8,40,Lyon\n")
    names: dict[str, object] = {}
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for number, block in enumerate(BLOCKS, start=1):
        test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", "docs/python.md", 0)
        assert test.examples, block
        runner.run(test, out=printed.append, clear_globs=False)
        names.update(test.globs)
    for name in ("client", "houses"):
        client = names[name]
        assert isinstance(client, tfsctl.Client)
        client.close()

    assert "".join(printed) == ""


def test_the_page_lists_every_error() -> None:
    """The errors of tfsctl/errors.py are in its table, and `tfsctl` has them all."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    table = PAGE.split("# Errors\n")[1].split("\n## ")[0]

    assert set(re.findall(r"`([A-Z]\w+)`", table)) - {"AsyncClient"} == kinds
    assert kinds <= set(tfsctl.__all__)
