"""What the front passes to the process of a collector."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tfsctl.rollout.shadow.shadow_state import ShadowPlan, plan_from_document


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

    def to_document(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> CollectorOptions:
        """Read what `to_document` returned. Raises KeyError or TypeError for any other document."""
        return cls(**{**document, "plan": plan_from_document(document["plan"])})
