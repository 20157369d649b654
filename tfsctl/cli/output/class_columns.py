"""The columns that --top and --labels add to answers written to a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfsctl.cli.output.class_scores import NO_CLASS_OPTIONS, ClassOptions, class_labels, scored_outputs


def class_columns(outputs: Mapping[str, np.ndarray], class_options: ClassOptions) -> Mapping[str, np.ndarray]:
    """The outputs of a batch, with each output of class scores [rows, classes] replaced by its highest classes.

    An output NAME becomes NAME_label (text) or, if the classes have no labels, NAME_class (indexes), and NAME (scores),
    highest first. Their shape is [rows] for one class (default), or [rows, top]. Raises InvalidInput as
    `scored_outputs` does.
    """
    if class_options == NO_CLASS_OPTIONS:
        return outputs
    scored = scored_outputs(outputs, class_options)
    columns: dict[str, np.ndarray] = {}
    for name, array in outputs.items():
        if name not in scored:
            columns[name] = array
            continue
        scores = scored[name]
        order = np.argsort(-scores, axis=1, kind="stable")[:, : class_options.top or 1]
        labels = class_labels(outputs, name, scores, class_options)
        if labels is None:
            columns[f"{name}_class"] = _squeeze(order)
        else:
            columns[f"{name}_label"] = _squeeze(np.take_along_axis(labels, order, axis=1))
        columns[name] = _squeeze(np.take_along_axis(scores, order, axis=1))
    return columns


def _squeeze(array: np.ndarray) -> np.ndarray:
    """Drop the second dimension if it holds one class."""
    return array[:, 0] if array.shape[1] == 1 else array
