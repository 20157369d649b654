"""Class scores among the outputs of a model: find them, name the classes, choose the highest."""

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

MAX_CLASSES_SHOWN = 10  # with more classes, a terminal shows only the DEFAULT_TOP highest
DEFAULT_TOP = 5
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class ClassOptions:
    """The values of --labels and --top: the names of the classes (default: their numbers), and how many are shown."""

    labels: tuple[str, ...] = ()
    top: int | None = None


NO_CLASS_OPTIONS = ClassOptions()
"""The user did not ask for classes. Otherwise any two-dimensional output of floats is taken for class scores."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class of one row: its label (empty if unknown), its index, and its score."""

    label: str
    index: int
    score: np.floating | float

    @property
    def name(self) -> str:
        """The label, or `class INDEX` without labels."""
        return self.label or f"class {self.index}"


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names from a file: one per line, a JSON list, or a JSON object from index to name.

    Raises InvalidInput if the file holds none.
    """
    from tfsctl.inputs.named_values import read_bytes

    content = read_bytes(str(path), hint="--labels takes a text file with one class name per line, or JSON")
    try:
        text = content.decode()
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
        if isinstance(found, dict):
            found = [found[str(index)] for index in range(len(found))]
    except (ValueError, KeyError, RecursionError) as error:
        raise InvalidInput(
            f"{path} holds no labels: {error!r}", hint="write one label per line, or a JSON list"
        ) from error
    if not isinstance(found, list) or not found:
        raise InvalidInput(f"{path} holds no labels", hint="write one label per line, or a JSON list")
    return tuple(map(str, found))


def classes_of(prediction: Prediction, class_options: ClassOptions) -> dict[str, list[list[ClassScore]]]:
    """For each output with class scores, the classes of each row. Raises InvalidInput as `scored_outputs` does."""
    outputs = prediction.outputs
    return {
        name: _ranked(scores, class_labels(outputs, name, scores, class_options))
        for name, scores in scored_outputs(outputs, class_options).items()
    }


def scored_outputs(outputs: Mapping[str, np.ndarray], class_options: ClassOptions) -> dict[str, np.ndarray]:
    """The scores [rows, classes] of each output that has class scores.

    If the user asked for classes, any float output [rows, classes] qualifies; otherwise its rows must sum to one.
    Raises InvalidInput if the user asked for classes and there are none, or if the number of labels is not theirs.
    """
    scored = {name: scores for name, array in outputs.items() if (scores := _scores(array, class_options)) is not None}
    if class_options != NO_CLASS_OPTIONS and not scored:
        raise InvalidInput("no output of this prediction contains class scores", hint="remove --top and --labels")
    sizes = {name: scores.shape[1] for name, scores in scored.items()}
    if class_options.labels and len(class_options.labels) not in sizes.values():
        counts = ", ".join(f"{name} has {size} classes" for name, size in sizes.items())
        raise InvalidInput(f"there are {len(class_options.labels)} labels, but {counts}")
    return scored


def displayed_classes(row: Sequence[ClassScore], top: int | None) -> list[ClassScore]:
    """The classes of a row that a terminal shows: up to `top`, highest first (default: all of a few, the highest of many)."""
    if top is None and len(row) <= MAX_CLASSES_SHOWN:
        return list(row)
    return sorted(row, key=lambda one: -float(one.score))[: top or DEFAULT_TOP]


def selected_classes(row: list[ClassScore], class_options: ClassOptions) -> list[ClassScore]:
    """The classes that a program gets: the --top highest (default: all, in the order of the model)."""
    return row if class_options.top is None else displayed_classes(row, class_options.top)


def are_fractions(rows: Sequence[Sequence[ClassScore]]) -> bool:
    """Whether every score is from 0 to 1."""
    return all(0 <= one.score <= 1 for row in rows for one in row)


def looks_like_probabilities(array: np.ndarray) -> bool:
    """Whether all values are floats from 0 to 1."""
    return array.dtype.kind == "f" and array.size > 0 and bool(((array >= 0) & (array <= 1)).all())


def _scores(array: np.ndarray, class_options: ClassOptions) -> np.ndarray | None:
    """The class scores [rows, classes] of an output, or None.

    With two labels and a single score per row, the first label gets 1 - score and the second gets the score.
    """
    if array.dtype.kind != "f" or not array.size:
        return None
    if (
        len(class_options.labels) == 2
        and looks_like_probabilities(array)
        and array.shape[1:] in ((), (1,))
        and array.ndim
    ):
        import numpy as np

        second = array.reshape(-1)
        return np.stack([1 - second, second], axis=1)
    if array.ndim != 2 or array.shape[1] < 2:
        return None
    sums_to_one = looks_like_probabilities(array) and abs(array.sum(axis=1) - 1).max() <= _SUM_TOLERANCE
    return array if sums_to_one or class_options != NO_CLASS_OPTIONS else None


def class_labels(
    outputs: Mapping[str, np.ndarray], name: str, scores: np.ndarray, class_options: ClassOptions
) -> np.ndarray | None:
    """The labels [rows, classes] (UTF-8) of an output's scores: those of --labels, or the model's own, or None.

    The model's own labels are its only other output, if that holds strings of the same shape.
    """
    import numpy as np

    if len(class_options.labels) == scores.shape[1]:
        return np.broadcast_to(np.array([label.encode() for label in class_options.labels], dtype=object), scores.shape)
    others = [array for key, array in outputs.items() if key != name]
    if len(others) == 1 and others[0].dtype.kind == "O" and others[0].shape == scores.shape:
        return others[0]
    return None


def _ranked(scores: np.ndarray, labels: np.ndarray | None) -> list[list[ClassScore]]:
    def label(row: int, index: int) -> str:
        return "" if labels is None else str(labels[row, index].decode("utf-8", "replace"))

    return [
        [ClassScore(label(number, index), index, score) for index, score in enumerate(row)]
        for number, row in enumerate(scores)
    ]
