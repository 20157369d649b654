"""Converts the arguments of `predict` to input arrays: chooses the signature, and shapes typed values to its inputs."""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tfsctl.core.json_strings import encode_text
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, Signature, TensorSpec
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.example_request import example_row, example_signature
from tfsctl.inputs.typed_values import ROW_LINES_HINT, TypedValues, parse_line, parse_typed, takes_text

if TYPE_CHECKING:
    import numpy as np


def choose_signature(metadata: ModelMetadata, name: str | None) -> Signature:
    """The signature of a name (default: the only one, or `serving_default`). Raises NotFound."""
    signatures = metadata.signatures
    if name is None and len(signatures) == 1:
        return next(iter(signatures.values()))
    wanted = DEFAULT_SIGNATURE if name is None else name
    if wanted in signatures:
        return signatures[wanted]
    if not signatures:
        raise NotFound(f"{metadata.name} has no signatures, so it answers no requests")
    close = difflib.get_close_matches(wanted, signatures, n=1)
    raise NotFound(
        f"{metadata.name} has no signature {wanted!r}, only {', '.join(signatures)}",
        hint=f"did you mean --signature {close[0]}?" if close else "choose one with --signature NAME",
    )


def shape_inputs(
    texts: Sequence[str], signature: Signature, named: Sequence[str] = (), *, as_text: bool = False
) -> dict[str, np.ndarray]:
    """An array for each input of the signature. Each typed text is one row, unless its nesting says otherwise.

    `named` are the pairs of `-i`. `as_text` takes strings as they are, without parsing. Raises InvalidInput with what
    the signature takes and an example, NotFound for a missing file.
    """
    with _described_errors(signature):
        return _typed_arrays(parse_typed(texts, signature, named, as_text=as_text), signature)


def shape_lines(lines: Sequence[str], signature: Signature) -> dict[str, np.ndarray]:
    """An array for each input, with exactly one row per line.

    If the signature takes one text per row, a line is the text, as it is. Otherwise it is a number, JSON or NAME=VALUE
    pairs. Raises InvalidInput with the number of the first line that is not one row.
    """
    with _described_errors(signature, for_shell=False):
        if takes_text(signature):
            _check_encoding(lines)
            return _typed_arrays(parse_typed(lines, signature, as_text=True), signature)
        if not lines and signature.inputs:
            raise InvalidInput("no input was given")
        return _typed_arrays([_line_row(line, number, signature) for number, line in enumerate(lines, 1)], signature)


def _check_encoding(lines: Sequence[str]) -> None:
    for number, line in enumerate(lines, 1):
        encode_text(line, f"line {number}")


def _line_row(line: str, number: int, signature: Signature) -> TypedValues:
    """The row of a line, as TypedValues with `is_row`. Raises InvalidInput with the number of the line."""
    try:
        parsed = parse_line(line, signature)
        row = {}
        for spec in signature.inputs:
            row[spec.name] = _single_row(parsed.values[spec.name], spec, is_row=parsed.is_row)
    except InvalidInput as error:
        raise InvalidInput(f"line {number}: {error.message}", hint=error.hint) from error
    return TypedValues(row, is_row=True)


def _single_row(value: object, spec: TensorSpec, *, is_row: bool) -> object:
    """The value as one row. Raises InvalidInput if it is several rows, or does not fit a row."""
    from tfsctl.core import json_tensors

    if not spec.shape:
        json_tensors.from_json(value, spec)
        return value
    rows = _rows_of_value(value, spec.shape[1:], is_row=is_row)
    if len(rows) != 1:
        raise InvalidInput(f"{len(rows)} rows for {spec.name}", hint=ROW_LINES_HINT)
    json_tensors.from_json(rows[0], replace(spec, shape=spec.shape[1:]))
    return rows[0]


def _typed_arrays(typed: Sequence[TypedValues], signature: Signature) -> dict[str, np.ndarray]:
    arrays = {spec.name: _typed_array(spec, typed) for spec in signature.inputs}
    check_row_counts(arrays, signature)
    return arrays


@contextmanager
def _described_errors(signature: Signature, *, for_shell: bool = True) -> Iterator[None]:
    """Add the inputs of the signature to the message of InvalidInput, and an example as the hint if it has no hint."""
    try:
        yield
    except InvalidInput as error:
        shown = _image_example(signature) or example_arguments(signature, for_shell=for_shell)
        hint = error.hint or (f"for example: {shown}" if shown else "")
        raise InvalidInput(f"{error.message}; {describe_inputs(signature)}", hint=hint) from error


def choose_outputs(signature: Signature, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the outputs to return, without duplicates (default: all). Raises InvalidInput for an unknown name."""
    known = [spec.name for spec in signature.outputs]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise InvalidInput(
                f"{signature.name} has no output {name!r}, only {', '.join(known)}",
                hint=f"did you mean --only {close[0]}?" if close else "",
            )
    return tuple(dict.fromkeys(names)) or tuple(known)


def describe_inputs(signature: Signature) -> str:
    """The inputs of a signature, on one line: `serving_default takes text string [batch]`."""
    inputs = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
    return f"{signature.name} takes {inputs or 'no inputs'}"


def example_arguments(signature: Signature, *, for_shell: bool = True) -> str:
    """Example arguments for a signature; empty if they would be too long.

    They are ready for a shell, with text in quotes, or for a line of stdin or of the REPL.
    """
    if example_signature({signature.name: signature}) is None:
        return ""
    row = example_row(signature)

    def written(value: object) -> str:
        if isinstance(value, str):
            return _compact(value) if for_shell else value
        return shlex.quote(_compact(value)) if for_shell and '"' in _compact(value) else _compact(value)

    if len(signature.inputs) == 1:
        return written(row)
    return " ".join(f"{name}={written(value)}" for name, value in row.items())


def _image_example(signature: Signature) -> str:
    """An example argument for a model whose only input is an image; empty for other models."""
    from tfsctl.inputs.images import takes_images

    spec = signature.inputs[0] if len(signature.inputs) == 1 else None
    if spec is None or spec.dtype == "string" or spec.shape is None or len(spec.shape) != 4 or not takes_images(spec):
        return ""
    return f"-i {spec.name}=@photo.jpg"


def _compact(value: object) -> str:
    """JSON without spaces, so that a list of numbers is one argument in a shell."""
    return json.dumps(value, separators=(",", ":"))


def _typed_array(spec: TensorSpec, typed: Sequence[TypedValues]) -> np.ndarray:
    """The array of one input from everything that was typed."""
    if spec.shape is None and len(typed) == 1 and typed[0].is_exact and _is_json(typed[0].values[spec.name]):
        from tfsctl.core import json_tensors

        return json_tensors.from_json(typed[0].values[spec.name], spec)
    if len(typed) == 1 and typed[0].is_batch and typed[0].values[spec.name] == []:
        return _no_rows(spec)
    return _input_array(spec, [(row.values[spec.name], row.is_row) for row in typed])


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, dict))


def _input_array(spec: TensorSpec, values: Sequence[tuple[object, bool]]) -> np.ndarray:
    """The array of one input. `values` are (value, is_row) pairs in the order they were typed."""
    import numpy as np

    from tfsctl.core import json_tensors

    if any(isinstance(value, np.ndarray) for value, _ in values):
        return _concatenated(spec, values)
    first, is_row = values[0]
    if spec.shape == ():
        if len(values) > 1:
            raise InvalidInput(f"{spec.name} takes a single value, but {len(values)} were given")
        return json_tensors.from_json(first, spec)
    if spec.shape is None:
        whole = len(values) == 1 and not is_row and isinstance(first, list)
        return json_tensors.from_json(first if whole else [value for value, _ in values], spec)
    rows = []
    for value, is_row in values:
        is_row_among_others = value == [] and len(values) > 1  # otherwise fewer rows would be sent than were typed
        rows += _rows_of_value(value, spec.shape[1:], is_row=is_row or is_row_among_others)
    if len(rows) > 1 and not spec.dtype.startswith("complex"):  # a complex number may be a pair
        _check_row_shapes(spec, rows)
    return json_tensors.from_json(rows, spec) if rows else _no_rows(spec)


def _no_rows(spec: TensorSpec) -> np.ndarray:
    """A batch without rows."""
    import numpy as np

    from tfsctl.core import dtypes, json_tensors

    if spec.shape and spec.dtype in dtypes.BY_NAME:
        return np.empty((0, *(size or 0 for size in spec.shape[1:])), dtype=dtypes.BY_NAME[spec.dtype].numpy)
    return json_tensors.from_json([], spec)


def _concatenated(spec: TensorSpec, values: Sequence[tuple[object, bool]]) -> np.ndarray:
    """One batch of the rows of arrays and typed values, in order."""
    import numpy as np

    from tfsctl.inputs.array_inputs import fit_array

    parts = [
        fit_array(value, spec) if isinstance(value, np.ndarray) else _input_array(spec, [(value, is_row)])
        for value, is_row in values
    ]
    if len(parts) == 1:
        return parts[0]
    if any(part.shape[1:] != parts[0].shape[1:] or not part.ndim for part in parts):
        shapes = ", ".join(str(list(part.shape)) for part in parts)
        raise InvalidInput(f"the values for {spec.name} do not form a batch: their shapes are {shapes}")
    return np.concatenate(parts)


def _check_row_shapes(spec: TensorSpec, rows: Sequence[object]) -> None:
    """Raise InvalidInput with the number of the first row that has the wrong shape."""
    wanted = (spec.shape or ())[1:]
    for number, row in enumerate(rows, start=1):
        found = _nested_shape(row)
        if len(found) != len(wanted) or any(want not in (None, have) for have, want in zip(found, wanted, strict=True)):
            text = ", ".join("?" if size is None else str(size) for size in wanted)
            raise InvalidInput(
                f"row {number}: {spec.name} has shape {list(found)}, but the model wants {spec.dtype} [{text}]"
            )


def _nested_shape(value: object) -> tuple[int, ...]:
    """The shape of nested lists, judged by the first item of each list."""
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    return tuple(sizes)


def _rows_of_value(value: object, row_shape: tuple[int | None, ...], *, is_row: bool) -> list[object]:
    """The rows of a value: its items if it is nested deeply enough, otherwise the value itself as one row.

    An empty list is one row if rows are lists of any length, otherwise it has no rows.
    """
    if isinstance(value, list) and not is_row:
        if _depth(value) > len(row_shape) or (not value and row_shape not in ((None,), (0,))):
            return value
        if _depth(value) == 1 and all(size == 1 for size in row_shape):
            return [_as_row(item, row_shape) for item in value]
    return [_as_row(value, row_shape)]


def _as_row(value: object, row_shape: tuple[int | None, ...]) -> object:
    """A bare value as a row of one value, if the row shape allows that."""
    if not isinstance(value, list) and all(size in (1, None) for size in row_shape):
        for _ in row_shape:
            value = [value]
    return value


def _depth(value: object) -> int:
    return len(_nested_shape(value))


def check_row_counts(arrays: Mapping[str, np.ndarray], signature: Signature) -> None:
    """Raise InvalidInput unless all inputs with a batch dimension have the same number of rows."""
    counts = {spec.name: len(arrays[spec.name]) for spec in signature.inputs if spec.shape and spec.shape[0] is None}
    if len(set(counts.values())) > 1:
        raise InvalidInput(
            "the inputs have different numbers of rows: " + ", ".join(f"{k} {n}" for k, n in counts.items())
        )
