"""`--require-blessing`: refuse to promote a version that did not pass its last comparison."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from tfsctl.core.model_dir import list_versions
from tfsctl.core.saved_model import SAVED_MODEL_FILE
from tfsctl.core.version_files.blessings import read_blessings
from tfsctl.errors import NotBlessed


def check_blessing(model: str, base: Path | None, version: int, others: Collection[int | None]) -> None:
    """Raise NotBlessed unless the version passed its last comparison.

    `base` is the directory of the model, None if it is not on this machine. `others` are the versions with which it may
    be compared, the best one first.
    """
    if base is None:
        raise NotBlessed(
            f"the directory of {model} is not on this machine: its blessings cannot be read",
            hint="remove --require-blessing",
        )
    on_disk = {found.version: found.path for found in list_versions(base) if (found.path / SAVED_MODEL_FILE).is_file()}
    blessings = read_blessings(on_disk[version]) if version in on_disk else []
    if blessings and blessings[-1].passed:
        return
    why = f"failed its last comparison ({blessings[-1].time})" if blessings else "has no blessing"
    comparable = on_disk.keys() - {version}
    other = next((one for one in others if one in comparable), max(comparable, default=None))
    if other is None:
        hint = "remove --require-blessing: there is no other version to compare it with"
    else:
        sides = shlex.join([str(on_disk[other]), str(on_disk[version])])
        hint = f"tfsctl compare {sides} --file FILE --fail-if THRESHOLD"
    raise NotBlessed(f"version {version} of {model} {why}", hint=hint)
