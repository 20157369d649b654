"""Scores of classes among the outputs of a model: which those are, what the classes are called, the highest first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.types import Prediction
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np

MANY = 10  # classes; of more a terminal shows the highest only
SHOWN_OF_MANY = 5
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class View:
    """What of an answer is shown: the names of classes (none: their numbers), how many of them (None: as fits)."""

    labels: tuple[str, ...] = ()
    top: int | None = None

    @property
    def wants_classes(self) -> bool:
        """Whether classes were asked for, so that they are shown wherever scores could be theirs."""
        return bool(self.labels) or self.top is not None


@dataclass(frozen=True, slots=True)
class Class:
    """One class of one row: its label, empty where there is none, its number, and its score as the model gave it."""

    label: str
    index: int
    score: np.floating | float

    @property
    def name(self) -> str:
        """What people call it: the label, else its number."""
        return self.label or f"class {self.index}"


def read_labels(path: Path) -> tuple[str, ...]:
    """The names of classes in a file: a line each, a JSON list, or a JSON object from number to name.

    Raises InvalidInput for what holds none.
    """
    from tfsctl.inputs.named_values import read_bytes

    content = read_bytes(str(path), hint="--labels takes a file with the name of a class a line, or JSON")
    try:
        text = content.decode()
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
        if isinstance(found, dict):
            found = [found[str(index)] for index in range(len(found))]
    except (ValueError, KeyError, RecursionError) as error:
        raise InvalidInput(f"{path} holds no labels: {error!r}", hint="one a line, or a JSON list") from error
    if not isinstance(found, list) or not found:
        raise InvalidInput(f"{path} holds no labels", hint="one a line, or a JSON list")
    return tuple(map(str, found))


def classes_of(prediction: Prediction, view: View) -> dict[str, list[list[Class]]]:
    """For each output that scores classes, a list of them for each row. Raises InvalidInput as `scored_outputs`."""
    outputs = prediction.outputs
    return {
        name: _ranked(scores, label_table(outputs, name, scores, view))
        for name, scores in scored_outputs(outputs, view).items()
    }


def scored_outputs(outputs: Mapping[str, np.ndarray], view: View) -> dict[str, np.ndarray]:
    """The scores [rows, classes] of each output that has any.

    Where classes were asked for any scores will do, else only those that sum to one. Raises InvalidInput when none was
    found though asked for, or the labels are not as many as the classes.
    """
    scored = {name: scores for name, array in outputs.items() if (scores := _scores(array, view)) is not None}
    if view.wants_classes and not scored:
        raise InvalidInput("no output of this answer has scores of classes", hint="leave out --top and --labels")
    sizes = {name: scores.shape[1] for name, scores in scored.items()}
    if view.labels and len(view.labels) not in sizes.values():
        counts = ", ".join(f"{name} has {size} classes" for name, size in sizes.items())
        raise InvalidInput(f"there are {len(view.labels)} labels, but {counts}")
    return scored


def best(row: Sequence[Class], top: int | None) -> list[Class]:
    """The highest of a row's classes, highest first; those of many on their own account, few as they are."""
    if top is None and len(row) <= MANY:
        return list(row)
    return sorted(row, key=lambda one: -float(one.score))[: top or SHOWN_OF_MANY]


def highest(row: list[Class], view: View) -> list[Class]:
    """The classes asked for, for programs: as many as --top says, else all in their order."""
    return row if view.top is None else best(row, view.top)


def are_shares(rows: Sequence[Sequence[Class]]) -> bool:
    """Whether every score is from 0 to 1, so that bars can show them."""
    return all(0 <= one.score <= 1 for row in rows for one in row)


def looks_like_probabilities(array: np.ndarray) -> bool:
    """Whether these are floats from 0 to 1."""
    return array.dtype.kind == "f" and array.size > 0 and bool(((array >= 0) & (array <= 1)).all())


def _scores(array: np.ndarray, view: View) -> np.ndarray | None:
    """The scores [rows, classes] an output has, or None. Of one score and two labels it is the second's."""
    if array.dtype.kind != "f" or not array.size:
        return None
    if len(view.labels) == 2 and looks_like_probabilities(array) and array.shape[1:] in ((), (1,)) and array.ndim:
        import numpy as np

        second = array.reshape(-1)
        return np.stack([1 - second, second], axis=1)
    if array.ndim != 2 or array.shape[1] < 2:
        return None
    sums_to_one = looks_like_probabilities(array) and abs(array.sum(axis=1) - 1).max() <= _SUM_TOLERANCE
    return array if sums_to_one or view.wants_classes else None


def label_table(outputs: Mapping[str, np.ndarray], name: str, scores: np.ndarray, view: View) -> np.ndarray | None:
    """The labels [rows, classes] (UTF-8) of an output's scores, or None: those of a file, else the model's own.

    The model's own are its one other output, if that has strings.
    """
    import numpy as np

    if len(view.labels) == scores.shape[1]:
        return np.broadcast_to(np.array([label.encode() for label in view.labels], dtype=object), scores.shape)
    others = [array for key, array in outputs.items() if key != name]
    if len(others) == 1 and others[0].dtype.kind == "O" and others[0].shape == scores.shape:
        return others[0]
    return None


def _ranked(scores: np.ndarray, labels: np.ndarray | None) -> list[list[Class]]:
    def label(row: int, index: int) -> str:
        return "" if labels is None else str(labels[row, index].decode("utf-8", "replace"))

    return [
        [Class(label(number, index), index, score) for index, score in enumerate(row)]
        for number, row in enumerate(scores)
    ]
