"""The server core: which models are configured, their labels, and the polling that keeps the manager up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.server.execution.servable import Servable
from tfsctl.server.lifecycle.manager import ManagedVersion, Manager
from tfsctl.server.lifecycle.source import aspired_versions
from tfsctl.server.status import Code, ServingError, invalid_argument, not_found
from tfsctl.serving_config.model_config import ModelConfig

log = logging.getLogger(__name__)


RELOAD_PATIENCE_S = 60.0


class ServerCore:
    """Configured models over a Manager. `poll_wait_s` 0 looks at the disk once, negative never.

    `allow_labels_for_unavailable` lets a new label name a version that is not available yet.
    """

    def __init__(self, manager: Manager, *, poll_wait_s: float, allow_labels_for_unavailable: bool = False) -> None:
        self.manager = manager
        self._models: dict[str, ModelConfig] = {}
        self._labels: dict[str, Mapping[str, int]] = {}
        self._poll_wait_s = poll_wait_s
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._polling: asyncio.Task[None] | None = None
        self._reloads = asyncio.Lock()

    async def start(self, models: Sequence[ModelConfig]) -> None:
        """Return once every model is available; a base path that is not there is waited for.

        Raises UNKNOWN, as TensorFlow Serving does, when a version failed to load for good.
        """
        await self._apply(models)
        if self._poll_wait_s > 0:
            self._polling = asyncio.create_task(self._poll_for_ever())
        failed = await self.manager.wait_until_settled(self._models)
        if any(self.manager.is_served(name) for name in self._models):
            failed = [version for version in failed if not version.is_unsafe]
        if failed:
            raise _did_not_become_available(failed, "servable")
        self.manager.end_initial_loads()
        log.info("Finished adding/updating models")

    async def reload(self, models: Sequence[ModelConfig]) -> None:
        """Serve exactly these models from now on; returns once those that are new are available.

        The change takes effect at once. Its answer, like the real server's, waits for earlier reloads: one that names
        a model which never comes holds up the answers (not the effects) of later ones, here for a minute at most.
        Raises INVALID_ARGUMENT or FAILED_PRECONDITION with nothing changed, UNKNOWN when a new model failed to load.
        """
        added = [model.name for model in models if model.name not in self._models]
        await self._apply(models)
        async with self._reloads:
            failed = await self._wait_until_available(added)
        if failed:
            raise _did_not_become_available(failed, "model")
        log.info("Finished adding/updating models")

    async def _wait_until_available(self, names: Sequence[str]) -> list[ManagedVersion]:
        waiting = asyncio.ensure_future(self.manager.wait_until_settled(names))
        try:
            while not waiting.done() and all(name in self._models for name in names):
                await asyncio.wait([waiting], timeout=1.0)
            if not waiting.done():  # a later reload took the models away again
                await asyncio.wait([waiting], timeout=RELOAD_PATIENCE_S)
            return waiting.result() if waiting.done() else []
        finally:
            waiting.cancel()

    async def _apply(self, models: Sequence[ModelConfig]) -> None:
        """Take over a configuration: check its labels, drop what it omits, look for the versions of the rest."""
        log.info("Adding/updating models.")
        labels = {model.name: self._checked_labels(model) for model in models}
        dropped = self._models.keys() - {model.name for model in models}
        self._models = {model.name: model for model in models}
        self._labels = labels
        for name in dropped:
            self.manager.set_aspired(name, {})
        for model in models:
            log.info(" (Re-)adding model: %s", model.name)
        if self._poll_wait_s >= 0:
            await self._poll()

    def _checked_labels(self, model: ModelConfig) -> Mapping[str, int]:
        """A model's labels, each on an available version (or, where that is allowed, new or as it was)."""
        current = self._labels.get(model.name, {})
        for label, version in sorted(model.labels.items()):
            may_wait = self._allow_labels_for_unavailable and current.get(label, version) == version
            if not may_wait and not self.manager.is_available(model.name, version):
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {model.name}, which is not currently "
                    "available for inference",
                )
        return model.labels

    async def stop(self) -> None:
        """Stop polling and unload everything."""
        if self._polling is not None:
            self._polling.cancel()
        await self.manager.close()

    async def _poll_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_wait_s)
            try:
                await self._poll()
            except Exception:  # a poll that fails must not end the polling
                log.exception("Polling the file system failed")

    async def _poll(self) -> None:
        found = [(model, await asyncio.to_thread(aspired_versions, model)) for model in list(self._models.values())]
        for model, versions in found:
            if versions is not None and self._models.get(model.name) is model:  # not reconfigured meanwhile
                self.manager.set_aspired(model.name, versions)

    # ---- asking ----
    @property
    def models(self) -> tuple[ModelConfig, ...]:
        """The configuration as it is now."""
        return tuple(self._models.values())

    @property
    def model_names(self) -> list[str]:
        """The models configured now."""
        return list(self._models)

    def servable(self, ref: ModelRef) -> Servable:
        """The servable a request means. Raises NOT_FOUND, or INVALID_ARGUMENT for an unknown label."""
        if ref.label is None:
            return self.manager.get(ref.name, ref.version)
        labels = self._labels.get(ref.name, {})
        if ref.label not in labels:
            raise invalid_argument(f"Unrecognized servable version label: {ref.label}")
        return self.manager.get(ref.name, labels[ref.label])

    def status(self, name: str, version: int | None) -> list[VersionStatus]:
        """The state of one version, or of all that ever were, highest first. Raises NOT_FOUND."""
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
    reasons = "".join(f"{{{version} due to error: {version.error}}}, " for version in failed)
    return ServingError(Code.UNKNOWN, f"{len(failed)} {what}(s) did not become available: {{{reasons}}}")
