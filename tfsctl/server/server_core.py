"""The server core: which models are configured, their labels, and the polling that keeps the manager up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tfsctl.core.serving_config import ModelConfig
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.server.manager import ManagedVersion, Manager
from tfsctl.server.servable import Servable
from tfsctl.server.source import aspired_versions
from tfsctl.server.status import Code, ServingError, invalid_argument, not_found

log = logging.getLogger(__name__)


class ServerCore:
    """Configured models over a Manager. `poll_wait_s` 0 looks at the disk once, negative never."""

    def __init__(self, manager: Manager, models: Sequence[ModelConfig], *, poll_wait_s: float) -> None:
        self.manager = manager
        self._models = {model.name: model for model in models}
        self._poll_wait_s = poll_wait_s
        self._polling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once every model is available; a base path that is not there is waited for.

        Raises UNKNOWN, as TensorFlow Serving does, when a version failed to load for good.
        """
        log.info("Adding/updating models.")
        if self._poll_wait_s >= 0:
            await self._poll()
        if self._poll_wait_s > 0:
            self._polling = asyncio.create_task(self._poll_for_ever())
        failed = await self.manager.wait_until_settled(self._models)
        if failed:
            raise _did_not_become_available(failed)
        log.info("Finished adding/updating models")

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
        for model in list(self._models.values()):
            versions = await asyncio.to_thread(aspired_versions, model)
            if versions is not None:
                self.manager.set_aspired(model.name, versions)

    # ---- asking ----
    def servable(self, ref: ModelRef) -> Servable:
        """The servable a request means. Raises NOT_FOUND, or INVALID_ARGUMENT for an unknown label."""
        if ref.label is None:
            return self.manager.get(ref.name, ref.version)
        model = self._models.get(ref.name)
        if model is None or ref.label not in model.labels:
            raise invalid_argument(f"Unrecognized servable version label: {ref.label}")
        return self.manager.get(ref.name, model.labels[ref.label])

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


def _did_not_become_available(failed: Sequence[ManagedVersion]) -> ServingError:
    reasons = "".join(f"{{{version} due to error: {version.error}}}, " for version in failed)
    return ServingError(Code.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{reasons}}}")
