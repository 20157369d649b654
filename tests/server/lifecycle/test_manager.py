"""The manager without TensorFlow: its servables are closed when a test says so."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tfsctl.server.execution.servable import Servable
from tfsctl.server.lifecycle.manager import Manager
from tfsctl.server.status import Code, ServingError, UnsafeVersionError

ONE = {1: Path("/models/m/1")}


class Lingering(Servable):
    """A servable whose last request runs until `gone` is set."""

    has_runs = False

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.is_closed = False

    async def drain(self) -> None:
        """Wait for the last request."""
        await self.gone.wait()

    def close(self) -> None:
        """Record that the session would be freed."""
        self.is_closed = True


def managed(scenario: Callable[[Manager, list[Lingering]], Awaitable[None]]) -> None:
    """Run a scenario with a manager whose loads take no time, and the list of the versions that it loaded."""

    async def run() -> None:
        loaded: list[Lingering] = []

        def load(_name: str, _version: int, _path: Path) -> Servable:
            loaded.append(Lingering())
            return loaded[-1]

        manager = Manager(load, max_retries=0, retry_interval_s=0)
        await scenario(manager, loaded)
        for servable in loaded:
            servable.gone.set()
        await manager.close()

    asyncio.run(asyncio.wait_for(run(), timeout=240))


def test_a_version_aspired_again_while_it_unloads_is_reloaded() -> None:
    """It is unloaded first, and then loaded again."""

    async def scenario(manager: Manager, loaded: list[Lingering]) -> None:
        manager.set_aspired("m", ONE)
        assert await manager.wait_until_settled(["m"]) == []
        manager.set_aspired("m", {})
        assert [v.state for v in manager.versions("m")] == ["UNLOADING"]

        manager.set_aspired("m", ONE)
        waiting = asyncio.ensure_future(manager.wait_until_settled(["m"]))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not waiting.done()
        loaded[0].gone.set()

        assert await waiting == []
        assert manager.get("m") is loaded[1]

    managed(scenario)


def test_an_unloaded_version_ends() -> None:
    """It is not loaded again."""

    async def scenario(manager: Manager, loaded: list[Lingering]) -> None:
        manager.set_aspired("m", ONE)
        await manager.wait_until_settled(["m"])
        manager.set_aspired("m", {})
        loaded[0].gone.set()
        while [v.state for v in manager.versions("m")] != ["END"]:  # noqa: ASYNC110 - a Manager has no event for it
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)

        assert [v.state for v in manager.versions("m")] == ["END"]
        assert len(loaded) == 1
        assert loaded[0].is_closed

    managed(scenario)


def test_a_run_without_a_request_does_not_keep_the_process() -> None:
    """The process ends without waiting for the run, also if the version is no longer aspired."""
    versions: list[Lingering] = []

    async def scenario(manager: Manager, loaded: list[Lingering]) -> None:
        manager.set_aspired("other", ONE)
        manager.set_aspired("m", ONE)
        await manager.wait_until_settled(["m", "other"])
        manager.set_aspired("m", {})
        for servable in loaded:
            servable.has_runs = True
        versions.extend(loaded)

    managed(scenario)
    assert [servable.is_closed for servable in versions] == [False, False]


@pytest.mark.parametrize(("max_retries", "loads"), [(0, 1), (2, 3), (-1, 9)])
def test_failed_loads_are_retried(max_retries: int, loads: int) -> None:
    """Up to the maximum; a negative maximum is no limit. The ninth attempt succeeds."""
    attempts: list[int] = []

    def load(_name: str, version: int, _path: Path) -> Servable:
        attempts.append(version)
        if len(attempts) < 9:
            raise ServingError(Code.UNKNOWN, "not yet")
        return Lingering()

    async def scenario() -> None:
        manager = Manager(load, max_retries=max_retries, retry_interval_s=0)
        manager.set_aspired("m", ONE)
        failed = await manager.wait_until_settled(["m"])
        assert [str(version.error) for version in failed] == ["UNKNOWN: not yet"] * (loads < 9)

    asyncio.run(scenario())
    assert len(attempts) == loads


def test_the_only_version_of_a_starting_server_is_not_checked() -> None:
    """Later every version is, also the first one of the only model."""
    checked: list[int] = []

    async def check(_name: str, version: int, _path: Path) -> None:
        checked.append(version)

    async def scenario() -> None:
        manager = Manager(lambda *_: Lingering(), max_retries=0, retry_interval_s=0, check=check)
        manager.set_aspired("m", ONE)
        await manager.wait_until_settled(["m"])
        assert checked == []

        manager.set_aspired("n", {2: Path("/models/n/2"), 3: Path("/models/n/3")})
        await manager.wait_until_settled(["n"])
        assert checked == [2, 3]

    async def after_the_start() -> None:
        manager = Manager(lambda *_: Lingering(), max_retries=0, retry_interval_s=0, check=check)
        manager.end_initial_loads()
        manager.set_aspired("m", {4: Path("/models/m/4")})
        await manager.wait_until_settled(["m"])
        assert checked == [2, 3, 4]

    asyncio.run(scenario())
    asyncio.run(after_the_start())


def test_versions_that_arrive_later_load_in_one_thread() -> None:
    """At the start, many load at the same time; the gaps that loads leave in the heap are those of one thread then."""
    threads: dict[str, set[int]] = {"start": set(), "later": set()}
    phase, both = "start", threading.Barrier(2)

    def load(_name: str, _version: int, _path: Path) -> Servable:
        threads[phase].add(threading.get_ident())
        if phase == "start":
            both.wait(240)
        return Lingering()

    async def scenario() -> None:
        nonlocal phase
        manager = Manager(load, max_retries=0, retry_interval_s=0)
        names = ["m", "n"]
        for name in names:
            manager.set_aspired(name, ONE)
        await manager.wait_until_settled(names)
        manager.end_initial_loads()
        phase = "later"
        for version in (2, 3, 4):
            for name in names:
                manager.set_aspired(name, ONE | {version: Path(f"/models/{name}/{version}")})
            await manager.wait_until_settled(names)

    asyncio.run(scenario())
    assert {phase: len(idents) for phase, idents in threads.items()} == {"start": 2, "later": 1}


def test_an_unreadable_file_is_named() -> None:
    """The operating system's error is reported in TensorFlow's form, with its code."""

    def load(_name: str, _version: int, path: Path) -> Servable:
        raise PermissionError(errno.EACCES, "Permission denied", str(path / "variables"))

    async def scenario() -> list[str]:
        manager = Manager(load, max_retries=0, retry_interval_s=0)
        manager.set_aspired("m", ONE)
        failed = [str(version.error) for version in await manager.wait_until_settled(["m"])]
        await manager.close()
        return failed

    assert asyncio.run(scenario()) == ["PERMISSION_DENIED: /models/m/1/variables; Permission denied"]


def test_an_unsafe_version_ends_at_once_and_is_retried() -> None:
    """Nothing waits for its retries, which are as many as those of other failed loads."""

    async def run() -> None:
        loads: list[int] = []

        def load(_name: str, version: int, _path: Path) -> Servable:
            loads.append(version)
            raise UnsafeVersionError(Code.INTERNAL, "it aborted")

        manager = Manager(load, max_retries=2, retry_interval_s=0.01)
        manager.set_aspired("m", ONE)
        (failed,) = await manager.wait_until_settled(["m"])
        assert (failed.state, failed.is_unsafe) == ("END", True)
        await asyncio.gather(*manager._loads)
        assert (loads, failed.state) == ([1, 1, 1], "END")
        await manager.close()

    asyncio.run(asyncio.wait_for(run(), timeout=60))


def test_versions_are_checked_if_there_are_others() -> None:
    """A version alone is checked only with `checks_alone`."""
    checked: list[str] = []

    async def check(name: str, _version: int, _path: Path) -> None:
        checked.append(name)

    async def run(*names: str, checks_alone: bool) -> list[str]:
        checked.clear()
        servable = Lingering()
        servable.gone.set()
        manager = Manager(
            lambda *_: servable, max_retries=0, retry_interval_s=0, check=check, checks_alone=checks_alone
        )
        for name in names:
            manager.set_aspired(name, ONE)
        await manager.wait_until_settled(names)
        await manager.close()
        return sorted(checked)

    assert asyncio.run(run("a", checks_alone=False)) == []
    assert asyncio.run(run("a", checks_alone=True)) == ["a"]
    assert asyncio.run(run("a", "b", checks_alone=False)) == ["a", "b"]
