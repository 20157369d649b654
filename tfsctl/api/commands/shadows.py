"""`shadow`: compare a new version with the stable one on live requests, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tfsctl.api.commands.value_checks import check_sample
from tfsctl.api.hints import python_errors
from tfsctl.clients.connection import check_timeout
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import EngineError, NotFound
from tfsctl.rollout.comparison.gates import check_gates, parse_gate
from tfsctl.rollout.front import operations
from tfsctl.rollout.shadow.shadow_state import MAX_ROWS, ShadowPlan, shadow_document

if TYPE_CHECKING:
    from tfsctl.engines.registry.tracked_server import TrackedServer
    from tfsctl.rollout.comparison.result import Comparison
    from tfsctl.rollout.front.front_files import FrontState


class Shadow:
    """The running or last shadow of a front. `tfsctl.shadow` returns it."""

    def __init__(self, front: TrackedServer) -> None:
        self._front = front

    def __repr__(self) -> str:
        found = self.status()
        return f"<tfsctl.Shadow {found['model']} {found['a']} and {found['b']}: {found['status']}>"

    def status(self) -> dict[str, Any]:
        """The `shadow` of `tfsctl shadow --json`. Raises NotFound if no shadow was started."""
        with python_errors():
            return _report(self._front, operations.read_state(self._front))

    def comparison(self, *, fail_if: Sequence[str] = (), min_rows: int = 30) -> Comparison:
        """The comparison of the requests up to now.

        `passed` of it is False if a threshold of `fail_if`, such as `"agreement<0.98"`, holds, or is undecided because
        there are fewer than `min_rows` rows. Raises NotFound if no request was compared yet, and InvalidInput for an
        unknown threshold.
        """
        with python_errors():
            gates = [parse_gate(text) for text in fail_if]
            state = operations.read_state(self._front)
            model = _report(self._front, state)["model"]
            found = None if state.shadow is None else operations.read_comparison(self._front, state.shadow)
            if found is None:
                raise NotFound(
                    f"the shadow of {model} has compared no requests yet",
                    hint="send requests to the front, and call comparison() again",
                )
            found.gates.extend(check_gates(gates, found.numbers(), found.counts(), min_rows))
            return found

    def stop(self) -> dict[str, Any]:
        """Stop the shadow. Returns the status; `comparison` still returns what was found.

        Raises NotFound if no shadow is running, and InvalidInput if a canary needs it.
        """
        with python_errors():
            return _report(self._front, operations.stop_shadow(self._front))


@python_errors()
def shadow(
    model: str,
    *,
    version: int | None = None,
    sample: float = 0.1,
    signature: str = DEFAULT_SIGNATURE,
    atol: float = 1e-5,
    rtol: float = 1e-4,
    max_rows: int = MAX_ROWS,
    timeout_s: float = 10.0,
    server: str | None = None,
    wait_timeout_s: float = 60.0,
) -> Shadow:
    """Copy a share of the requests to a new version, and compare its predictions. Clients never receive them.

    Returns once requests are copied. Without `version`, returns the running or last shadow. `sample` is the share of the
    predict requests, from 0 to 1, and `timeout_s` the time limit of each copy. Raises InvalidInput and NotFound if it
    cannot be started, EngineError if the new version does not load, and NotReadyInTime.
    """
    check_sample(sample)
    check_timeout("timeout_s", timeout_s)
    front = operations.find_front(model, server=server)
    if version is not None:
        plan = ShadowPlan(model, version, sample, atol, rtol, signature, max_rows, None, wait_timeout_s, timeout_s)
        state = operations.start_shadow(front, plan)
        if state.shadow is not None and state.shadow.status == "failed":
            raise EngineError(state.shadow.reason, hint=f"tfsctl logs {front.record.name} --tail 20")
    return Shadow(front)


def _report(front: TrackedServer, state: FrontState) -> dict[str, Any]:
    if state.shadow is None:
        raise NotFound(f"no shadow of {front.record.name} was started", hint="tfsctl.shadow(…, version=N) starts one")
    return shadow_document(state.shadow, state.collector_starts)
