"""Sends one request to both versions, and adds their answers to the statistics."""

from __future__ import annotations

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction
from tfsctl.errors import TfsctlError
from tfsctl.rollout.shadow.copied_request import CopiedCall
from tfsctl.rollout.shadow.shadow_state import ShadowPlan
from tfsctl.rollout.shadow.shadow_statistics import Answers, ShadowStatistics


class BothVersions:
    """Sends a request to A, to B, and to A again; the order of A and B alternates. Threads may share it."""

    def __init__(self, client: GrpcClient, plan: ShadowPlan, from_version: int) -> None:
        self._client, self._signature = client, plan.signature
        self._refs = ModelRef(plan.model, from_version), ModelRef(plan.model, plan.version)
        self._metadata: tuple[ModelMetadata, ModelMetadata] | None = None
        self._is_b_first = False

    def metadata(self) -> tuple[ModelMetadata, ModelMetadata]:
        """The signatures of A and B, which are fetched once. Raises TfsctlError."""
        if self._metadata is None:
            a, b = (self._client.metadata(ref) for ref in self._refs)
            self._metadata = a, b
        return self._metadata

    def send(self, call: CopiedCall, statistics: ShadowStatistics) -> None:
        """Send a request, and add the answers to the statistics. Errors of the servers are counted, not raised."""
        self._is_b_first = not self._is_b_first
        order = (1, 0) if self._is_b_first else (0, 1)
        found: dict[int, Prediction | None] = {side: self._predict(side, call) for side in order}
        a, b = found[0], found[1]
        again = self._predict(0, call) if a and b and statistics.needs_second_answer else None
        if a is None:
            statistics.count(a_failures=1)
        elif b is None:
            statistics.add_failure_of_b()
        else:
            outputs = None if again is None else again.outputs
            statistics.add(Answers(call.inputs, a.outputs, b.outputs, outputs, a.latency_s, b.latency_s))

    def _predict(self, side: int, call: CopiedCall) -> Prediction | None:
        try:
            return self._client.predict(self._refs[side], call.inputs, signature=self._signature, outputs=call.outputs)
        except TfsctlError:
            return None
