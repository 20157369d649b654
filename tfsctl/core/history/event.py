"""One entry of a model's history, as a value and as JSON."""

from __future__ import annotations

import getpass
import socket
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

Action = Literal["export", "label", "promote", "rollback", "prune", "remove"]


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    - `time`: ISO 8601, UTC; `who`: USER@HOST
    - `versions`: the versions that were exported, removed or moved to
    - `labels`, `labels_before`: all labels of the model on `server` after and before a change of labels
    - `id`: unique, so that a change whose recording is repeated is recorded once

    The field names are the keys of a line in the journal.
    """

    action: Action
    model: str
    versions: tuple[int, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    labels_before: Mapping[str, int] = field(default_factory=dict)
    server: str | None = None
    message: str = ""
    time: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    who: str = field(default_factory=lambda: f"{_user()}@{socket.gethostname()}")
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def to_document(self) -> dict[str, Any]:
        """The event as JSON values."""
        return asdict(self) | {"versions": list(self.versions)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Event:
        """Read what `to_document` returned. Keys of later versions are ignored. Raises TypeError for anything else."""
        known = {key: value for key, value in document.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "versions": tuple(known.get("versions", ()))})


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may run as a user id without a name
        import os

        return str(os.getuid())
