"""The intent file: a change of labels in progress, written before the first call to the server.

If tfsctl is killed, the file tells the next command which change to finish or to undo.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfsctl.core.history.event import Event
from tfsctl.engines import state_dir
from tfsctl.rollout.labels.planning import Steps
from tfsctl.serving_config.model_config import model_from_document

_FOLDER = "changes"
_CONFIGS = ("before", "prepared", "moved", "after")


@dataclass(frozen=True, slots=True)
class Intent:
    """A change in progress: its steps, its entry in the history, and whether it failed and is being undone."""

    steps: Steps
    event: Event
    undoing: bool = False

    def to_document(self) -> dict[str, Any]:
        """The intent as JSON values."""
        return {"steps": asdict(self.steps), "event": self.event.to_document(), "undoing": self.undoing}


def write(key: str, intent: Intent) -> None:
    """Write the intent of the server `key`. Raises EngineError if the state directory cannot be written."""
    state_dir.subfolder(_FOLDER)
    state_dir.write_atomically(_file(key), json.dumps(intent.to_document()))


def read(key: str) -> Intent | None:
    """The intent that an earlier command left; None if there is none, or it cannot be read."""
    try:
        document = json.loads(_file(key).read_text(encoding="utf-8"))
        configs = {name: model_from_document(document["steps"][name]) for name in _CONFIGS}
        steps = Steps(**configs, loaded=tuple(document["steps"]["loaded"]))
        return Intent(steps, Event.from_document(document["event"]), document["undoing"])
    except (OSError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return None


def remove(key: str) -> None:
    """Delete the intent: the change is finished or undone."""
    _file(key).unlink(missing_ok=True)


def _file(key: str) -> Path:
    return state_dir.base() / _FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
