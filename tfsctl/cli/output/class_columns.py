"""The highest classes of many rows, as columns: what --top and --labels make of answers that go to a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfsctl.cli.output.classes import View, label_table, scored_outputs


def class_columns(outputs: Mapping[str, np.ndarray], view: View) -> Mapping[str, np.ndarray]:
    """The outputs of a batch; one that scores classes [rows, classes] becomes its highest, highest first.

    Of NAME those are NAME_label (text) or, where nothing names the classes, NAME_class (their numbers), and NAME (their
    scores): [rows] for one class, as without --top, else [rows, top]. Raises InvalidInput as `scored_outputs` does.
    """
    if not view.wants_classes:
        return outputs
    scored = scored_outputs(outputs, view)
    columns: dict[str, np.ndarray] = {}
    for name, array in outputs.items():
        if name not in scored:
            columns[name] = array
            continue
        scores = scored[name]
        order = np.argsort(-scores, axis=1, kind="stable")[:, : view.top or 1]
        labels = label_table(outputs, name, scores, view)
        if labels is None:
            columns[f"{name}_class"] = _alone(order)
        else:
            columns[f"{name}_label"] = _alone(np.take_along_axis(labels, order, axis=1))
        columns[name] = _alone(np.take_along_axis(scores, order, axis=1))
    return columns


def _alone(array: np.ndarray) -> np.ndarray:
    """The only class of each row by itself."""
    return array[:, 0] if array.shape[1] == 1 else array
