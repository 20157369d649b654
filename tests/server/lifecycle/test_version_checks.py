"""Versions are checked in another process before they are loaded. The tests run programs in place of that process."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tfsctl.server.lifecycle import version_checks
from tfsctl.server.lifecycle.version_checks import VersionChecks
from tfsctl.server.status import Code, ServingError, UnsafeVersionError

# Reports like the real process, notes each start and each version in files, and does what a version's name says.
PROGRAM = """
import json, os, pathlib, signal, sys, time
job = json.loads(os.environ["TFSCTL_VERSION_CHECK"])
folder = pathlib.Path(job["settings"])
(folder / f"start-{os.getpid()}").write_text(json.dumps([name for name, _, _ in job["versions"]]))
def report(code, message=""):
    print(job["token"] + json.dumps({"code": code, "message": message}), flush=True)
if (folder / "fails").exists():
    sys.exit("no TensorFlow here")
report(0)
for name, version, path in job["versions"]:
    if name == "aborts":
        print("F0000 00:00:00 1 tensor_shape.cc:424] Check failed: 0 <= n (0 vs. -1)", flush=True)
        os.abort()
    if name == "exits":
        sys.exit(3)
    if name == "hangs":
        time.sleep(1000)
    if name == "forges":
        print('0000000000000000{"code": 0, "message": ""}', flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "slow":
        report(0)
        sys.exit()
    report(8 if name == "large" else 3 if name == "bad" else 0, "not enough memory")
"""


def checked(folder: Path, *names: str) -> list[ServingError | None]:
    """The error of each version when all are checked at the same time."""

    async def run() -> list[ServingError | None]:
        checks = VersionChecks([sys.executable, "-c", PROGRAM], str(folder), lambda: True)
        work = (checks.check(name, 1, folder / name) for name in names)
        found = await asyncio.gather(*work, return_exceptions=True)
        assert all(error is None or isinstance(error, ServingError) for error in found), found
        return [error if isinstance(error, ServingError) else None for error in found]

    return asyncio.run(asyncio.wait_for(run(), timeout=200))


def starts(folder: Path) -> list[list[str]]:
    """The versions that each process was started with, sorted."""
    return sorted(json.loads(file.read_text()) for file in folder.glob("start-*"))


def test_versions_that_wait_together_share_a_process(tmp_path: Path) -> None:
    assert checked(tmp_path, "a", "b", "c") == [None, None, None]
    assert starts(tmp_path) == [["a", "b", "c"]]


def test_a_version_that_ends_the_process_is_refused(tmp_path: Path) -> None:
    """Versions before it pass; those after it are checked by another process."""
    a, aborts, b, exits, c = checked(tmp_path, "a", "aborts", "b", "exits", "c")

    assert (a, b, c) == (None, None, None)
    assert isinstance(aborts, UnsafeVersionError)
    assert aborts.message == (
        "The version is not loaded, as it could end the server: another process that loaded and ran it ended with "
        "SIGABRT: Check failed: 0 <= n (0 vs. -1)"
    )
    assert isinstance(exits, UnsafeVersionError)
    assert exits.message.endswith("ended with exit status 3")
    assert starts(tmp_path) == [["a", "aborts", "b", "exits", "c"], ["b", "exits", "c"], ["c"]]


def test_a_process_may_stop_early(tmp_path: Path) -> None:
    """Another process checks the other versions."""
    assert checked(tmp_path, "a", "slow", "b") == [None, None, None]
    assert starts(tmp_path) == [["a", "slow", "b"], ["b"]]


def test_a_version_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its process is stopped."""
    monkeypatch.setattr(version_checks, "BASE_TIMEOUT_S", 3.0)
    hangs, a = checked(tmp_path, "hangs", "a")

    assert a is None
    assert isinstance(hangs, UnsafeVersionError)
    assert hangs.code is Code.DEADLINE_EXCEEDED


def test_holes_of_a_sparse_file_do_not_extend_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow would read the holes of a vocabulary for minutes, while other versions wait for their checks."""
    (tmp_path / "hangs").mkdir()
    with (tmp_path / "hangs" / "words.txt").open("wb") as file:
        file.truncate(2**40)
    monkeypatch.setattr(version_checks, "BASE_TIMEOUT_S", 1.0)
    (hangs,) = checked(tmp_path, "hangs")

    assert isinstance(hangs, UnsafeVersionError)
    assert "within 1 s" in hangs.message


def test_a_version_cannot_report_its_own_success(tmp_path: Path) -> None:
    """A model can print, but does not know the token of reports."""
    (forges,) = checked(tmp_path, "forges")

    assert isinstance(forges, UnsafeVersionError)
    assert "SIGKILL" in forges.message


def test_only_lack_of_memory_is_reported_by_the_check(tmp_path: Path) -> None:
    """The load reports other errors in TensorFlow's words. A version that lacks memory is not loaded in the server."""
    bad, large = checked(tmp_path, "bad", "large")

    assert bad is None
    assert large is not None
    assert not isinstance(large, UnsafeVersionError)
    assert (large.code, large.message) == (Code.RESOURCE_EXHAUSTED, "not enough memory")


def test_versions_are_loaded_unchecked_if_no_process_can_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server serves, and logs the reason."""
    (tmp_path / "fails").touch()
    assert checked(tmp_path, "a", "b") == [None, None]
    assert "are loaded unchecked: exit status 1: no TensorFlow here" in caplog.text

    async def run() -> None:
        await VersionChecks([str(tmp_path / "missing")], "", lambda: True).check("a", 1, tmp_path)

    asyncio.run(run())
    assert "are loaded unchecked" in caplog.records[-1].getMessage()
