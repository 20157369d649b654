"""Names of inputs and outputs that stay the same from export to export.

- A name that the user gave is kept: a dict key, the name of a `keras.Input`, a layer or a `tf.TensorSpec`, or of an
  argument of `call`.
- A name that Keras or TensorFlow generated (`keras_tensor_5`, `dense_3`, `args_0`) depends on what was built before, so
  it is replaced: by `inputs` or `outputs` for a single one, by `input_1`, … or `output_1`, … for several.
- An input is an argument of a TensorFlow function, so its name must be an identifier: `Sea view` becomes `Sea_view`,
  `class` becomes `class_`. The user gets a note.
- Equal names are numbered.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Sequence

KeyPath = tuple[str | int, ...]
"""The way to a leaf of nested dicts and lists: keys, and positions from 0."""

_GENERATED_INPUT = re.compile(r"(keras_tensor|input_layer|args)(_\d+)*|input_\d+")
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")  # tensorflow.python.framework.ops
_LEGACY_CLASSES = ("model",)  # Keras 2 called an unnamed functional model model_1


def input_names(candidates: Sequence[str | None], *, keep_generated: bool = False) -> list[str]:
    """Names for the inputs, in order. A candidate is None if there is no name.

    `keep_generated` is for a SavedModel: its clients already use its names.
    """
    chosen = [name if name and (keep_generated or not _is_generated_input(name)) else None for name in candidates]
    return _numbered([name and _identifier(name) for name in chosen], "input")


def notes_on_inputs(candidates: Sequence[str | None], names: Sequence[str]) -> tuple[str, ...]:
    """A note for each input whose name the user gave and that has another name in the export."""
    return tuple(
        f"the input {given!r} is renamed to {name!r}, because TensorFlow uses it as the name of an argument "
        f"(--input {name}=NEW chooses another name)"
        for given, name in zip(candidates, names, strict=True)
        if given and not _is_generated_input(given) and given != name
    )


def output_names(candidates: Sequence[str | None]) -> list[str]:
    """Names for the outputs, in order. A candidate is None if there is no name."""
    return _numbered(list(candidates), "output")


def from_path(path: KeyPath) -> str | None:
    """The name for a path in a nested structure: its keys, and positions from 1; None for a path without a key.

    `("scores",)` is `scores`, `("encoder", 0)` is `encoder_1`, `(0,)` is None.
    """
    if not any(isinstance(step, str) for step in path):
        return None
    return "_".join(step if isinstance(step, str) else str(step + 1) for step in path)


def scope_name(name: str) -> str:
    """A name that can be a scope of a TensorFlow graph: the name itself, or `Sea_view` for `Sea view`."""
    if _SCOPE.fullmatch(name):
        return name
    valid = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return valid if _SCOPE.fullmatch(valid) else f"layer{valid}"


def is_generated(layer_name: str, class_name: str) -> bool:
    """Whether Keras generated the name of a layer from its class, such as `dense` or `dense_3` for Dense."""
    bases = "|".join(re.escape(base) for base in (_snake_case(class_name), *_LEGACY_CLASSES))
    return re.fullmatch(rf"({bases})(_\d+)?", layer_name) is not None


def _is_generated_input(name: str) -> bool:
    return _GENERATED_INPUT.fullmatch(name) is not None


def _snake_case(class_name: str) -> str:
    """The same conversion as keras.src.utils.naming.to_snake_case."""
    name = re.sub(r"\W+", "", class_name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")
    if not name[:1].isalpha():
        name = f"input_{name}"
    return f"{name}_" if keyword.iskeyword(name) or name == "self" else name


def _numbered(names: list[str | None], word: str) -> list[str]:
    if len(names) == 1:
        return [names[0] or f"{word}s"]
    named = [name or f"{word}_{position}" for position, name in enumerate(names, 1)]
    counts = Counter(named)
    taken = {name for name in named if counts[name] == 1}
    result = []
    for name in named:
        chosen, number = name, 0
        while counts[name] > 1 and (number == 0 or chosen in taken):
            number += 1
            chosen = f"{name}_{number}"
        taken.add(chosen)
        result.append(chosen)
    return result
