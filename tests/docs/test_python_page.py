"""The Python pages of docs/ are true: each line of their examples gives what stands below it."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from locations import ROOT

import tfsctl
from tfsctl import errors
from tfsctl.engines.server_record import ServerRecord

PAGE = ROOT / "docs" / "python.md"


@pytest.mark.docs
@pytest.mark.server
def test_every_block_of_the_page_runs(
    registered: ServerRecord, sample_models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page, with a running server that has the sample models."""
    assert set(registered.models) >= {"half_plus_two", "house_price"}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "half_plus_two").symlink_to(sample_models_dir / "half_plus_two")
    (tmp_path / "houses.csv").write_text("id,area,city\n7,50,Paris\n8,40,Lyon\n")
    names, printed = run_blocks(PAGE)
    for name in ("client", "houses"):
        client = names[name]
        assert isinstance(client, tfsctl.Client)
        client.close()

    assert printed == ""


@pytest.mark.docs
@pytest.mark.server
def test_every_block_of_the_notebook_page_runs(
    sample_models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of the page, which starts and stops its own server; without Docker it is the embedded one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "half_plus_two").symlink_to(sample_models_dir / "half_plus_two")
    names, printed = run_blocks(ROOT / "docs" / "how-to" / "notebooks.md")
    server = names["server"]
    assert isinstance(server, tfsctl.Serving)
    server.stop()

    assert printed == ""


def run_blocks(page: Path) -> tuple[dict[str, object], str]:
    """Run the Python blocks of a page; return the names they define, and what differs from the page."""
    names: dict[str, object] = {}
    printed: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL), start=1):
        test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", page.name, 0)
        assert test.examples, block
        runner.run(test, out=printed.append, clear_globs=False)
        names.update(test.globs)
    return names, "".join(printed)


def test_the_page_lists_every_error() -> None:
    """The errors of tfsctl/errors.py are in its table, and `tfsctl` has them all."""
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
    table = PAGE.read_text(encoding="utf-8").split("# Errors\n")[1].split("\n## ")[0]

    assert set(re.findall(r"`([A-Z]\w+)`", table)) - {"AsyncClient"} == kinds
    assert kinds <= set(tfsctl.__all__)
