"""The options of the process of a collector, which the front passes to it as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.rollout.shadow.shadow_state import ShadowPlan


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """What a collector needs: the id of its shadow, its socket, the folder of its files, and the server of both versions."""

    shadow: str
    plan: ShadowPlan
    from_version: int
    socket: str
    folder: str
    host: str
    grpc_port: int
