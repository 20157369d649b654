"""A clean home and state directory for each test. A test gets those of the one before if that wrote nothing there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_servers import clean_places


class CleanPlaces:
    """Places of tests. To make new directories each time took 0.09 ms of the 0.7 ms that a short test takes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._variables: dict[str, str] | None = None

    @contextmanager
    def one(self) -> Iterator[dict[str, str]]:
        """The variables of a place that no test has written into."""
        variables = self._variables or self._new()
        self._variables = None
        yield variables
        if not os.listdir(variables["HOME"]) and not os.path.lexists(variables["TFSCTL_STATE_DIR"]):
            self._variables = variables

    def _new(self) -> dict[str, str]:
        self._made += 1
        return clean_places(self._folder / str(self._made))
