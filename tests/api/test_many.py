"""`predict_many`: rows from everything that holds rows, answers in their order, errors with the number of the row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tfsctl.api.many import ManyOptions, predict_rows
from tfsctl.api.progress import ProgressBar
from tfsctl.core.batches import RowBatch, request_arrays
from tfsctl.core.types import Shape, Signature, TensorSpec
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, TfsctlError


def signature(**inputs: tuple[str, Shape | None]) -> Signature:
    """A signature that returns its inputs."""
    specs = tuple(TensorSpec(name, *inputs[name]) for name in sorted(inputs))
    return Signature("s", specs, specs)


X = signature(x=("float32", (None,)))
ROW = signature(x=("float32", (None, 2)))
ANY_ROW = signature(x=("float32", (None, None)))
SCALAR = signature(x=("float32", ()))
PAIRS = signature(x=("float32", (2, 2)))
TWO = signature(area=("float32", (None,)), city=("string", (None,)))


def ask(wanted_by: Signature, rows: Any, **options: Any) -> dict[str, np.ndarray]:
    """The answers of a model that returns its inputs."""

    def predict(batch: RowBatch) -> Mapping[str, np.ndarray]:
        return request_arrays(batch, wanted_by)

    return predict_rows(rows, wanted_by, predict, ManyOptions(**options))


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 5000])
def test_rows_of_every_kind_give_the_same_answers_in_order(count: int) -> None:
    """Generators, lists, arrays, Series, columns and DataFrames give the same answers, in order."""
    numbers = [float(n) for n in range(count)]
    frame = pd.DataFrame({"x": numbers, "other": None})
    kinds: list[Any] = [
        *(iter(numbers), numbers, np.array(numbers), {"x": numbers}, pd.Series(numbers), frame),
        *(({"x": n} for n in numbers), [{"x": n} for n in numbers], range(count), tuple(numbers)),
    ]
    for rows in kinds:
        assert ask(X, rows)["x"].tolist() == numbers


def test_rows_of_several_values_and_inputs() -> None:
    """A row of values is never taken for several rows."""
    assert ask(ROW, [[1, 2], [3, 4]])["x"].tolist() == [[1, 2], [3, 4]]
    assert ask(ROW, iter([np.array([1, 2])]))["x"].tolist() == [[1, 2]]
    assert ask(SCALAR, [1, 2, 3])["x"].tolist() == [1, 2, 3]
    assert ask(PAIRS, [[1, 2], [3, 4], [5, 6], [7, 8]])["x"].tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    two = ask(TWO, ({"city": str(n), "area": n} for n in range(3)))
    assert (two["area"].tolist(), two["city"].tolist()) == ([0, 1, 2], [b"0", b"1", b"2"])


def test_columns_with_other_names_are_read_with_the_argument_columns(tmp_path: Path) -> None:
    """`columns` names them, in DataFrames and in files."""
    frame = pd.DataFrame({"size": [1.5], "city": ["Bern"]})
    frame.to_csv(tmp_path / "houses.csv", index=False)
    for rows in (frame, tmp_path / "houses.csv", str(tmp_path / "houses.csv")):
        found = ask(TWO, rows, columns={"area": "size"})
        assert (found["area"].tolist(), found["city"].tolist()) == ([1.5], [b"Bern"])


def test_no_rows_give_empty_outputs() -> None:
    """Empty outputs, so that a pipeline needs no special case."""
    nothing: list[Any] = [[], iter(()), pd.DataFrame({"x": []}), np.empty(0)]
    for rows in nothing:
        assert ask(X, rows)["x"].shape == (0,)
    assert ask(ROW, [])["x"].shape == (0, 2)


@pytest.mark.parametrize(
    ("wanted_by", "rows", "options", "kind", "message"),
    [
        (X, [0.0] * 1500 + ["x"], {}, InvalidInput, r"^row 1501: x is text \('x'\), but the model wants float32$"),
        (ROW, [[1, 2], [3]], {}, InvalidInput, r"^row 2: input 'x' has shape \[1, 1\], but the model wants"),
        (ROW, [1, 2], {}, InvalidInput, "^row 1: input 'x' has shape"),
        (TWO, [{"area": 1, "city": "a"}, {"area": 1}], {}, InvalidInput, "^row 2: there is no value for city"),
        (TWO, {"area": [1, 2], "city": ["a"]}, {}, InvalidInput, "different numbers of rows: area 2, city 1"),
        (X, pd.DataFrame({"x": [1.0] * 2000 + [None]}), {}, InvalidInput, r"^row 2001 \(index 2000\) has no value in"),
        (X, b"bytes", {}, InvalidInput, "rows of type bytes cannot be read"),
        (X, 5, {}, InvalidInput, "rows of type int cannot be read"),
        (X, "there_is_no.csv", {}, NotFound, "there is no file there_is_no.csv"),
        (X, [1], {"batch_size": 0}, InvalidInput, "batch_size must be a positive number, not 0"),
        (X, [1], {"concurrency": -1}, InvalidInput, "concurrency must be a positive number, not -1"),
        (PAIRS, [[1, 2]], {"batch_size": 3}, InvalidInput, "s takes exactly 2 rows per request"),
        (X, [1], {"format": "csv"}, InvalidInput, "format is for files"),
        (X, "f.xls", {"format": "xls"}, InvalidInput, "there is no format 'xls'"),
        (X, [1], {"columns": {"x": "y"}}, InvalidInput, "columns is for files and DataFrames"),
    ],
)
def test_an_unfit_row_is_named_by_its_number_in_all_rows(
    wanted_by: Signature, rows: Any, options: dict[str, Any], kind: type[TfsctlError], message: str
) -> None:
    """The message has the number of the row in all rows, not in the request."""
    with pytest.raises(kind, match=message):
        ask(wanted_by, rows, **options)


def test_rows_of_different_shapes_are_refused() -> None:
    """Their answers are no array."""
    with pytest.raises(InvalidInput, match="the rows of output 'x' have different shapes"):
        ask(ANY_ROW, [[1, 2], [3]])


def test_an_error_of_the_iterable_is_its_own() -> None:
    """It is not hidden, and the rows before it are not lost silently."""

    def rows() -> Iterator[float]:
        yield 1.0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(X, rows())


def test_a_row_that_the_server_refuses_is_named_by_its_number() -> None:
    """It is found by its number, although it was sent with others."""

    def predict(batch: RowBatch) -> Mapping[str, np.ndarray]:
        if 7 in batch.arrays["x"]:
            raise RequestRejected("seven", status="INVALID_ARGUMENT")
        return batch.arrays

    with pytest.raises(RequestRejected, match=r"^row 8: seven$") as caught:
        predict_rows(range(20), X, predict, ManyOptions(batch_size=16))

    assert caught.value.hint == ""  # not an option of the command line


def test_progress_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """To a function, or as one line on stderr that ends at 100%."""
    seen: list[tuple[int, float | None]] = []
    ask(X, np.arange(2048.0), show=lambda rows, fraction: seen.append((rows, fraction)))
    ask(X, iter([1.0, 2.0]), show=lambda rows, fraction: seen.append((rows, fraction)))
    assert seen[-2:] == [(2048, 1.0), (2, None)]

    bar = ProgressBar()
    bar(10, 0.5)
    bar(20, 1.0)
    bar.finish()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert "100%  20 rows" in printed.err.split("\r")[-1]
