"""Counts the requests of the A/B test of a front: reads Envoy's access log, and adds them to an ExposureStore."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from tfsctl.errors import EngineError
from tfsctl.rollout.experiment.exposure_log import ExposureLog
from tfsctl.rollout.front import rollout_report
from tfsctl.rollout.front.envoy.admin import reopen_logs
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, SLOTS, cluster
from tfsctl.rollout.front.front_files import FrontFiles, FrontState


class ExposureCounter:
    """Counts the requests of the A/B test that runs or was the last.

    Envoy logs a request up to half a second after its answer. Another rollout may have begun by then.
    """

    def __init__(self, files: FrontFiles, admin_socket: str, say: Callable[[str], None]) -> None:
        self._admin_socket, self._say = admin_socket, say
        self._log = ExposureLog(files.exposure_log, files.exposures, self._reopen_logs)
        self._test: tuple[str, dict[str, Any], dict[str, int]] | None = None  # the arguments of ExposureLog.update
        self._has_failed = False

    def update(self, state: FrontState) -> None:
        """Count the new requests. A failure is logged once, and the requests are counted later."""
        rollout = state.rollout
        if rollout is not None and rollout.plan.experiment is not None:
            b_slot = state.stable_slot if rollout.status == "promoted" else state.other_slot
            version_of = {
                cluster(slot, protocol, split=True): rollout.plan.version if slot == b_slot else rollout.from_version
                for slot in SLOTS
                for protocol in PROTOCOLS
            }
            self._test = (rollout.plan.experiment, rollout_report.describe_test(rollout), version_of)
        if self._test is None:
            return
        try:
            self._log.update(*self._test)
            self._has_failed = False
        except (sqlite3.Error, OSError) as error:
            if not self._has_failed:
                self._say(f"the requests of the A/B test cannot be counted: {error}")
            self._has_failed = True

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _reopen_logs(self) -> None:
        try:
            reopen_logs(self._admin_socket)
        except EngineError as error:
            self._say(error.message)
