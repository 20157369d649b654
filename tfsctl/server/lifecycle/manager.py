"""The manager: moves versions through the states START, LOADING, AVAILABLE, UNLOADING and END.

A version is AVAILABLE when it can answer requests. One that is no longer aspired stays until another aspired version is
available (TensorFlow Serving's availability-preserving policy), and is freed after its last request. All state belongs
to one event loop; threads load and free versions.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from tfsctl.core.types import State
from tfsctl.server.execution.servable import Servable
from tfsctl.server.process.resources import cpu_count
from tfsctl.server.status import Code, ServingError, UnsafeVersionError, not_found

log = logging.getLogger(__name__)
LoadFunction = Callable[[str, int, Path], Servable]
"""Loads a version: model name, version number, directory."""
CheckFunction = Callable[[str, int, Path], Awaitable[None]]
"""Checks a version, given like that. Raises ServingError if it must not be loaded."""
_INITIAL_LOADS = 4 * cpu_count()  # num_initial_load_threads of TensorFlow Serving's server core


@dataclass(slots=True, eq=False)
class ManagedVersion:
    """One version and its state. `error` is the reason of a failed load."""

    name: str
    number: int
    path: Path
    state: State = "START"
    error: ServingError | None = None
    servable: Servable | None = None

    @property
    def is_unsafe(self) -> bool:
        """Whether its last load was refused because it could end the server."""
        return isinstance(self.error, UnsafeVersionError)

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.number}}}"


class Manager:
    """The versions of all models, also those that have ended (GetModelStatus reports them).

    At most `load_threads` versions load at the same time, and `unload_threads` are freed (0: one after another). Until
    `end_initial_loads`, many load at the same time. A negative `max_retries` means no limit, as in the real server.
    `check` is called before a version is loaded. Until `end_initial_loads`, it is called only if there are other
    versions, or with `checks_alone`: a lone version cannot end anything that is served.
    """

    def __init__(
        self,
        load: LoadFunction,
        *,
        max_retries: int,
        retry_interval_s: float,
        load_threads: int = 0,
        unload_threads: int = 0,
        check: CheckFunction | None = None,
        checks_alone: bool = False,
    ) -> None:
        self._load = load
        self._check = check
        self._checks_alone = checks_alone
        self._max_retries = max_retries
        self._retry_interval_s = retry_interval_s
        self._versions: dict[str, dict[int, ManagedVersion]] = {}
        self._aspired: dict[str, dict[int, Path]] = {}
        self._available: dict[str, dict[int, Servable]] = {}
        self.latest: dict[str, Servable] = {}
        """By model: the highest version that answers requests."""
        self._load_threads = max(1, load_threads)
        self._loading = asyncio.Semaphore(_INITIAL_LOADS)
        self._loaders = ThreadPoolExecutor(max(_INITIAL_LOADS, self._load_threads), thread_name_prefix="load")
        self._unloaders = ThreadPoolExecutor(max(1, unload_threads), thread_name_prefix="unload")
        self._loads: set[asyncio.Task[None]] = set()
        self._unloads: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._is_ending = False

    def get(self, name: str, version: int | None = None) -> Servable:
        """The servable of a version (default: of the highest available version). Raises NOT_FOUND."""
        if version is None:
            servable = self.latest.get(name)
            wanted = f"Latest({name})"
        else:
            servable = self._available.get(name, {}).get(version)
            wanted = f"Specific({name}, {version})"
        if servable is None:
            raise not_found(f"Servable not found for request: {wanted}")
        return servable

    def is_available(self, name: str, version: int) -> bool:
        """Whether requests for this version are answered now."""
        return version in self._available.get(name, {})

    def is_served(self, name: str) -> bool:
        """Whether any version of this model answers requests now."""
        return bool(self._available.get(name))

    def versions(self, name: str) -> list[ManagedVersion]:
        """Every version of a model that was ever aspired, highest first."""
        known = self._versions.get(name, {})
        return [known[number] for number in sorted(known, reverse=True)]

    async def wait_until_settled(self, names: Iterable[str]) -> list[ManagedVersion]:
        """Wait until each model has aspired versions and all are AVAILABLE or END. Returns those that are END."""
        names = list(names)
        while not all(self._is_settled(name) for name in names):
            await self._changed.wait()
        return [v for name in names for v in self._aspired_versions(name) if v.state == "END"]

    def _aspired_versions(self, name: str) -> list[ManagedVersion]:
        return [v for v in self.versions(name) if v.number in self._aspired.get(name, {})]

    def _is_settled(self, name: str) -> bool:
        aspired = self._aspired_versions(name)
        return bool(aspired) and all(v.state in ("AVAILABLE", "END") for v in aspired)

    def end_initial_loads(self) -> None:
        """From now on load at most `load_threads` versions at the same time, in as many threads, and check each of them.

        The eight threads of the start are ended. Each thread allocates from one arena of glibc's heap, and a version that
        is unloaded leaves gaps in its arena: with up to eight threads and a new version every five seconds, the memory
        grew by 1.7 % between the first and the fifth half-minute of benchmarks/soak.py, with one thread by 1.0 %.
        """
        self._checks_alone = True
        self._loading = asyncio.Semaphore(self._load_threads)
        self._loaders.shutdown(wait=False)
        self._loaders = ThreadPoolExecutor(self._load_threads, thread_name_prefix="load")

    def set_aspired(self, name: str, versions: Mapping[int, Path]) -> None:
        """Set the versions of a model that should be served. Loading and unloading start in the background."""
        before, self._aspired[name] = self._aspired.get(name, {}), dict(versions)
        known = self._versions.setdefault(name, {})
        for number in sorted(versions):
            current = known.get(number)
            if current is None or (current.state == "END" and number not in before):
                self._start_loading(name, number)
        self._retire(name)

    def _start_loading(self, name: str, number: int) -> None:
        version = ManagedVersion(name, number, self._aspired[name][number])
        self._versions[name][number] = version
        _create_task(self._load_version(version), self._loads)

    def _set_state(self, version: ManagedVersion, state: State) -> None:
        version.state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _is_aspired(self, version: ManagedVersion) -> bool:
        is_current = self._versions.get(version.name, {}).get(version.number) is version
        return is_current and version.number in self._aspired.get(version.name, {})

    async def _load_version(self, version: ManagedVersion) -> None:
        """Load a version, with retries, until it is AVAILABLE or END."""
        for attempt in count() if self._max_retries < 0 else range(self._max_retries + 1):
            if attempt:
                await asyncio.sleep(self._retry_interval_s)
            if not self._is_aspired(version):
                version.error = ServingError(Code.CANCELLED, "Loading was cancelled: the version is no longer aspired")
                break
            async with self._loading:
                self._set_state(version, "LOADING")
                version.error = await self._try_to_load(version)
            if version.error is None:
                break
            log.error("Loading servable: %s failed: %s", version, version.error)
            if version.is_unsafe:
                self._set_state(version, "END")  # now, before any retry: a starting server must not wait for those
        if version.servable is None:
            self._set_state(version, "END")
            return
        self._available.setdefault(version.name, {})[version.number] = version.servable
        self._set_latest(version.name)
        log.info("Successfully loaded servable version %s", version)
        self._set_state(version, "AVAILABLE")
        self._retire(version.name)

    async def _try_to_load(self, version: ManagedVersion) -> ServingError | None:
        """Check and load a version once. Sets its servable, or returns the error."""
        log.info("Loading servable version %s", version)
        loop = asyncio.get_running_loop()
        try:
            if self._check is not None and (self._checks_alone or self._has_others(version)):
                await self._check(version.name, version.number, version.path)
            version.servable = await loop.run_in_executor(
                self._loaders, self._load, version.name, version.number, version.path
            )
        except ServingError as error:
            return error
        except OSError as error:
            code = Code.PERMISSION_DENIED if isinstance(error, PermissionError) else Code.UNKNOWN
            return ServingError(code, f"{error.filename}; {error.strerror}")
        except Exception as error:  # noqa: BLE001 - a failed load must not stop the server
            return ServingError(Code.UNKNOWN, f"{type(error).__name__}: {error}")
        return None

    def _has_others(self, version: ManagedVersion) -> bool:
        """Whether versions besides this one are served or will be."""
        known = (other for versions in self._versions.values() for other in versions.values())
        return any(other is not version and other.state != "END" for other in known)

    def _retire(self, name: str) -> None:
        """Unload versions that are no longer aspired, unless no aspired version is available yet."""
        aspired = self._aspired.get(name, {})
        available = self._available.get(name, {})
        if aspired and not aspired.keys() & available.keys():
            return
        for number in [number for number in available if number not in aspired]:
            version = self._versions[name][number]
            self._set_state(version, "UNLOADING")
            _create_task(self._unload_version(version, available.pop(number)), self._unloads)
        self._set_latest(name)

    def _set_latest(self, name: str) -> None:
        available = self._available.get(name)
        if available:
            self.latest[name] = available[max(available)]
        else:
            self.latest.pop(name, None)

    async def _unload_version(self, version: ManagedVersion, servable: Servable) -> None:
        await servable.drain()
        if self._is_ending and servable.has_runs:
            log.warning("Did not unload servable version %s: the run of a cancelled request goes on", version)
            return
        log.info("Unloading servable version %s", version)
        await asyncio.get_running_loop().run_in_executor(self._unloaders, servable.close)
        version.servable = None
        log.info("Done unloading servable version %s", version)
        self._set_state(version, "END")
        if self._is_aspired(version):  # it was aspired again while its last requests ran
            self._start_loading(version.name, version.number)

    async def close(self) -> None:
        """Unload every version after its last request, because the process ends.

        A run that goes on after its request was cancelled does not keep the process: its version is not unloaded.
        """
        self._is_ending = True
        for task in self._loads:
            task.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        for name in self._aspired:
            self._aspired[name] = {}
            self._retire(name)
        await asyncio.gather(*self._unloads, return_exceptions=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._unloaders.shutdown(wait=False)


def _create_task(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run `work` as a task, which stays in `tasks` until it is done."""
    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
