"""The server core: configured models, their labels, and the polling of the file system for new versions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.server.execution.servable import Servable
from tfsctl.server.lifecycle.manager import ManagedVersion, Manager
from tfsctl.server.lifecycle.source import aspired_versions
from tfsctl.server.request_log.request_logs import RequestLogs, create_folders
from tfsctl.server.status import Code, ServingError, invalid_argument, not_found
from tfsctl.serving_config.model_config import ModelConfig

log = logging.getLogger(__name__)


RELOAD_TIMEOUT_S = 60.0


class ServerCore:
    """The configured models. A `poll_wait_s` of 0 looks for versions once, a negative one never.

    `allow_labels_for_unavailable` lets a new label name a version that is not available yet.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        poll_wait_s: float,
        allow_labels_for_unavailable: bool = False,
        request_logs: RequestLogs | None = None,
    ) -> None:
        self.manager = manager
        self._request_logs = request_logs or RequestLogs()
        self._models: dict[str, ModelConfig] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._poll_wait_s = poll_wait_s
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._polling: asyncio.Task[None] | None = None
        self._reloads = asyncio.Lock()

    async def start(self, models: Sequence[ModelConfig]) -> None:
        """Return when every model is available. Waits for a base path that does not exist yet.

        Raises UNKNOWN, like TensorFlow Serving, if a version cannot be loaded after all retries. Versions that could
        end the server do not count if other models are served.
        """
        await self._apply(models)
        if self._poll_wait_s > 0:
            self._polling = asyncio.create_task(self._poll_forever())
        failed = await self.manager.wait_until_settled(self._models)
        if any(self.manager.is_served(name) for name in self._models):
            failed = [version for version in failed if not version.is_unsafe]
        if failed:
            raise _did_not_become_available(failed, "servable")
        self.manager.end_initial_loads()
        log.info("Finished adding/updating models")

    async def reload(self, models: Sequence[ModelConfig]) -> None:
        """Serve exactly these models. Returns when the new ones are available.

        The change takes effect at once, but the call waits for earlier reloads, as in the real server. A reload with a
        model that never becomes available delays the return of later ones, here by a minute at most.
        Raises INVALID_ARGUMENT or FAILED_PRECONDITION and changes nothing, or UNKNOWN if a new model fails to load.
        """
        added = [model.name for model in models if model.name not in self._models]
        await self._apply(models)
        async with self._reloads:
            failed = await self._wait_until_available(added)
        if self._request_logs.is_closing:
            await asyncio.to_thread(self._request_logs.wait_until_closed)
        if failed:
            raise _did_not_become_available(failed, "model")
        log.info("Finished adding/updating models")

    async def _wait_until_available(self, names: Sequence[str]) -> list[ManagedVersion]:
        """Wait until these models are available, or a minute if a later reload removed one. Returns the failed versions."""
        waiting = asyncio.ensure_future(self.manager.wait_until_settled(names))
        try:
            while not waiting.done() and all(name in self._models for name in names):
                await asyncio.wait([waiting], timeout=1.0)
            if not waiting.done():  # a later reload removed the models
                await asyncio.wait([waiting], timeout=RELOAD_TIMEOUT_S)
            return waiting.result() if waiting.done() else []
        finally:
            waiting.cancel()

    async def _apply(self, models: Sequence[ModelConfig]) -> None:
        """Apply a configuration: check its labels, drop models that it omits, and look for versions of the others."""
        log.info("Adding/updating models.")
        for model in models:
            self._check_labels(model)
        create_folders(models)
        dropped = self._models.keys() - {model.name for model in models}
        self._models = {model.name: model for model in models}
        self._labels = {model.name: model.labels for model in models}
        self._request_logs.configure(models)
        for name in dropped:
            self.manager.set_aspired(name, {})
        for model in models:
            log.info(" (Re-)adding model: %s", model.name)
        if self._poll_wait_s >= 0:
            await self._poll()

    def _check_labels(self, model: ModelConfig) -> None:
        """Raise FAILED_PRECONDITION if a label names a version that is not available.

        With `allow_labels_for_unavailable`, labels that are new or do not move may name any version.
        """
        current = self._labels.get(model.name, {})
        for label, version in sorted(model.labels.items()):
            may_wait = self._allow_labels_for_unavailable and current.get(label, version) == version
            if not may_wait and not self.manager.is_available(model.name, version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which is not currently "
                    "available for inference",
                )

    async def stop(self) -> None:
        """Stop polling and unload everything."""
        if self._polling is not None:
            self._polling.cancel()
        await self.manager.close()

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_wait_s)
            try:
                await self._poll()
            except Exception:  # polling continues after an error
                log.exception("Polling the file system failed")

    async def _poll(self) -> None:
        found = [(model, await asyncio.to_thread(aspired_versions, model)) for model in list(self._models.values())]
        for model, versions in found:
            if versions is not None and self._models.get(model.name) is model:  # not reconfigured since
                self.manager.set_aspired(model.name, versions)

    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The current configuration."""
        return tuple(self._models.values())

    @property
    def model_names(self) -> list[str]:
        """The names of the configured models."""
        return list(self._models)

    def servable(self, ref: ModelRef) -> Servable:
        """The servable for a request. Raises NOT_FOUND, or INVALID_ARGUMENT for an unknown label."""
        if ref.label is None:
            if ref.version is None and (servable := self.manager.latest.get(ref.name)) is not None:
                return servable
            return self.manager.get(ref.name, ref.version)
        labels = self._labels.get(ref.name, {})
        if ref.label not in labels:
            raise invalid_argument(f"Unrecognized servable version label: {ref.label}")
        return self.manager.get(ref.name, labels[ref.label])

    def status(self, name: str, version: int | None) -> list[VersionStatus]:
        """The state of one version (default: of all there ever were, highest first). Raises NOT_FOUND."""
        versions = self.manager.versions(name)
        if version is not None:
            versions = [v for v in versions if v.number == version]
        if not versions:
            what = "any versions" if version is None else f"version {version}"
            raise not_found(f"Could not find {what} of model {name}")
        return [_version_status(v) for v in versions]


def _version_status(version: ManagedVersion) -> VersionStatus:
    if version.error is None:
        return VersionStatus(version.number, version.state)
    return VersionStatus(version.number, version.state, version.error.code.name, version.error.message)


def _did_not_become_available(failed: Sequence[ManagedVersion], what: str) -> ServingError:
    """The real server's error; it calls a version `what`: "servable" at the start, "model" after a reload."""
    reasons = "".join(f"{{{version} due to error: {version.error}}}, " for version in failed)
    return ServingError(Code.UNKNOWN, f"{len(failed)} {what}(s) did not become available: {{{reasons}}}")
