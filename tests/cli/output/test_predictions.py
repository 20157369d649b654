"""A prediction as people and programs see it: values, bars, classes, tables, and large arrays summed up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfsctl.cli.inference import classify_regress
from tfsctl.cli.output import bars, predictions, value_text
from tfsctl.cli.output.class_scores import ClassOptions, ClassScore, read_labels
from tfsctl.core.arrays import object_array
from tfsctl.core.inference import InferenceResult, InferenceTask, ScoredClass
from tfsctl.core.types import Prediction
from tfsctl.errors import InvalidInput


def prediction(**outputs: object) -> Prediction:
    """An answer with these outputs; numbers are float32, text is bytes."""
    arrays = {}
    for name, value in outputs.items():
        array = np.asarray(value)
        arrays[name] = array.astype(object) if array.dtype.kind == "S" else array
        if array.dtype.kind == "f":
            arrays[name] = array.astype(np.float32)
    return Prediction(arrays, "m")


TWO = ["class 0  0.25  ██████                    25%", "class 1  0.75  ██████████████████        75%"]
PETS = ClassOptions(labels=("cat", "dog"))


@pytest.mark.parametrize(
    ("scores", "lines"),
    [
        ([[0.5]], ["0.5  ████████████              50%"]),
        ([0.0, 1.0], ["0.0                             0%", "1.0  ████████████████████████ 100%"]),
        ([[0.25, 0.75]], TWO),
        ([[0.25, 0.75], [0.25, 0.75]], ["row 1", *TWO, "row 2", *TWO]),
        ([[0.7, 0.7]], ["[0.7, 0.7]"]),
        ([[1.5]], ["1.5"]),
        ([[-0.5]], ["-0.5"]),
        ([[float("nan")]], ["NaN"]),
        (0.5, ["0.5"]),
        (np.empty(0, np.float32), []),
        ([1, 0], ["1", "0"]),
    ],
)
def test_only_probabilities_have_bars(scores: object, lines: list[str]) -> None:
    """One score per row, or classes that sum to one; other numbers are printed as they are."""
    assert predictions.drawn_lines(prediction(y=scores)) == lines


@pytest.mark.parametrize(
    ("scores", "class_options", "lines"),
    [
        (
            [[0.25, 0.75]],
            PETS,
            ["cat  0.25  ██████                    25%", "dog  0.75  ██████████████████        75%"],
        ),
        ([[0.25, 0.75]], ClassOptions(top=1), TWO[1:]),
        ([[0.75]], PETS, ["cat  0.25  ██████                    25%", "dog  0.75  ██████████████████        75%"]),
        ([[3.0, -1.0]], PETS, ["cat  3.0", "dog  -1.0"]),
        ([[3.0, -1.0, 5.0]], ClassOptions(top=2), ["class 2  5.0", "class 0  3.0"]),
        ([[0.5, 0.5]], ClassOptions(("a\x1b[2J", "b"), top=1), ['"a\\u001b[2J"  0.5  ████████████              50%']),
    ],
)
def test_labels_and_top_select_classes(scores: object, class_options: ClassOptions, lines: list[str]) -> None:
    """With --labels or --top, classes need not be probabilities; two labels name both sides of a single score."""
    assert predictions.drawn_lines(prediction(y=scores), class_options) == lines


def test_only_the_highest_of_many_classes_are_shown() -> None:
    """A terminal shows five classes and the number of the others; programs get all classes."""
    scores = np.full((1, 1000), 0.0005)
    scores[0, 7] += 0.5
    many = prediction(y=scores)
    lines = predictions.drawn_lines(many)
    assert lines is not None
    assert lines[0].startswith("class 7")
    assert (len(lines), lines[-1]) == (6, "… 995 more")
    assert len(predictions.plain_rows(many)[0][0].split(", ")) == 1000


def test_label_output_names_the_classes() -> None:
    """An output of strings with the shape of the scores holds their labels."""
    named = prediction(classes=[[b"a", b"b"]], scores=[[0.25, 0.75]])
    assert [line.split()[:2] for line in predictions.drawn_lines(named) or ()] == [["a", "0.25"], ["b", "0.75"]]


def test_several_outputs_are_a_table() -> None:
    """One column per output; a cell of classes has one line per class."""
    several = prediction(id=[1, 2], p=[[0.25, 0.75], [0.5, 0.5]])
    assert predictions.drawn_lines(several) is None
    names, rows = predictions.drawn_table(several)
    assert names == ["id", "p"]
    assert rows[0] == ["1", "class 0  0.25  ██        25%\nclass 1  0.75  ██████    75%"]
    assert rows[1][0] == "2"


def test_large_arrays_are_summarised_on_a_terminal_only() -> None:
    """A terminal shows dtype, shape, some values and statistics; programs get every value. Long text is cut."""
    large = prediction(y=np.arange(100.0).reshape(1, 100))
    assert predictions.drawn_lines(large) == ["float32 [100]: 0.0 1.0 2.0 … 99.0, 0.0 to 99.0, mean 49.5"]
    assert len(predictions.plain_rows(large)[0][0].split(", ")) == 100
    assert value_text.brief(b"a" * 5000) == f"{'a' * 2000}… (5000 characters)"


def test_plain_rows_have_one_line_per_class() -> None:
    """Row, class and score; with several outputs also the output."""
    scores = [[0.25, 0.75], [0.5, 0.5]]
    assert predictions.plain_rows(prediction(y=scores), ClassOptions(PETS.labels, top=1)) == [
        ["1", "dog", "0.75"],
        ["2", "cat", "0.5"],
    ]
    assert predictions.plain_rows(prediction(a=scores[:1], b=scores[:1]), ClassOptions(top=1)) == [
        ["1", "a", "class 1", "0.75"],
        ["1", "b", "class 1", "0.75"],
    ]


def test_document_includes_top_classes() -> None:
    """In addition to the complete outputs; a float32 has its own shortest digits."""
    scores = prediction(y=[[0.1, 0.9]])
    assert predictions.document(scores)["outputs"] == {"y": [[0.1, 0.9]]}
    assert "top" not in predictions.document(scores)
    assert predictions.document(scores, ClassOptions(top=1))["top"] == {
        "y": [[{"label": None, "index": 1, "score": 0.9}]]
    }
    assert str(predictions.document(prediction(y=[0.1, np.nan]))["outputs"]["y"]) == "[0.1, nan]"


@pytest.mark.parametrize(
    ("outputs", "class_options", "message"),
    [
        ({"y": [1, 2]}, ClassOptions(top=1), "no output of this prediction contains class scores"),
        ({"y": [[0.5, 0.5]]}, ClassOptions(labels=("a", "b", "c")), "there are 3 labels, but y has 2 classes"),
    ],
)
def test_missing_classes_are_an_error(outputs: dict[str, object], class_options: ClassOptions, message: str) -> None:
    """--top or --labels without class scores is an error."""
    for show in (predictions.drawn_lines, predictions.plain_rows, predictions.document):
        with pytest.raises(InvalidInput, match=message):
            show(prediction(**outputs), class_options)


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("a.txt", "cat\nred fox\n", ("cat", "red fox")),
        ("a.json", '["cat", "dog"]', ("cat", "dog")),
        ("a.json", '{"1": "dog", "0": "cat"}', ("cat", "dog")),
    ],
)
def test_labels_are_lines_or_json(tmp_path: Path, name: str, content: str, labels: tuple[str, ...]) -> None:
    """A file as people have them."""
    (tmp_path / name).write_text(content)
    assert read_labels(tmp_path / name) == labels


@pytest.mark.parametrize(("name", "content"), [("a.txt", b""), ("a.txt", b"\xff"), ("a.json", b"{"), ("a.json", b"[]")])
def test_invalid_label_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    """Empty files, files that are not UTF-8, and broken JSON."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInput, match="holds no labels"):
        read_labels(tmp_path / name)


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "    "), (1, "████"), (0.5, "██  "), (0.53125, "██▏ "), (0.999, "████")]
)
def test_bars_are_drawn_in_eighths(share: float, drawn: str) -> None:
    """All bars have the same width."""
    assert bars.bar(share, 4) == drawn


@pytest.mark.parametrize("columns", [100, 80, 66, 64, 40])
def test_lines_with_bars_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is shorter beside long inputs, and is left out if it would be very short."""
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [
        *bars.of_scores([0.13943027, 1.0], ["x" * 40, "short"]),
        *bars.of_classes([[ClassScore("x" * 40, 0, 0.13943027), ClassScore("b", 1, 0.5)]], None)[0],
    ]

    has_bar = columns >= 40 + 2 + 10 + 7 + 8
    assert all(("%" in line) is has_bar for line in lines)
    assert max(map(len, lines)) == (min(columns, 83) if has_bar else 52)


def test_labels_of_wide_characters_are_aligned() -> None:
    """A CJK character takes two cells of a terminal, a combining accent none."""
    lines = bars.of_scores([0.5, 0.5, 0.5], ["猫と犬", "e\u0301le\u0301", "cat"])

    assert [line.partition("0.5")[0] for line in lines] == ["猫と犬  ", "e\u0301le\u0301     ", "cat     "]


def test_classification_bars_are_consistent() -> None:
    """Bars appear only if all scores are from 0 to 1; the model's labels win over those of a file."""
    rows = ((ScoredClass("a", 0.25), ScoredClass("b", 0.75)), (ScoredClass("a", 2.0), ScoredClass("b", 0.5)))
    answer = InferenceResult(InferenceTask("classify", "s"), "m", 1, classes=rows)
    assert classify_regress.drawn_lines(answer, PETS) == ["row 1", "a  0.25", "b  0.75", "row 2", "a  2.0", "b  0.5"]
    unnamed = InferenceResult(
        InferenceTask("classify", "s"), "m", 1, classes=((ScoredClass("", 0.25), ScoredClass("", 0.75)),)
    )
    assert [line[:3] for line in classify_regress.drawn_lines(unnamed, PETS)] == ["cat", "dog"]
    assert classify_regress.plain_rows(unnamed, ClassOptions(top=1)) == [["1", "class 1", "0.75"]]


TEXTS = object_array([b"great", b"x" * 60])


def test_inputs_of_several_rows_stand_beside_the_answers() -> None:
    """Bars, values, classes and tables show what was typed, shortened; a single row shows its answer alone."""
    inputs = predictions.row_inputs({"text": TEXTS})
    labels = ["great", "x" * 39 + "…"]

    lines = predictions.drawn_lines(prediction(y=np.array([0.5, 0.25])), inputs=inputs)
    assert lines is not None
    assert [line[:42].rstrip() for line in lines] == labels
    lines = predictions.drawn_lines(prediction(y=np.array([5, 25])), inputs=inputs)
    assert lines == [f"{labels[0]:<40}  5", f"{labels[1]}  25"]
    lines = predictions.drawn_lines(prediction(y=np.array([[0.5, 0.5], [0.25, 0.75]])), inputs=inputs)
    assert lines is not None
    assert [line for line in lines if line.startswith("row")] == [f"row 1: {labels[0]}", f"row 2: {labels[1]}"]
    several = predictions.row_inputs({"a": np.array([1, 2]), "t": TEXTS})
    names, rows = predictions.drawn_table(prediction(y=np.array([5, 25]), z=np.array([1, 2])), inputs=several)
    assert (names, rows[0]) == (["a", "t", "y", "z"], ["1", "great", "5", "1"])
    lines = predictions.drawn_lines(prediction(y=np.array([5, 25])), inputs=several)
    assert lines is not None
    assert lines[0].startswith("a=1 t=great ")
    assert predictions.drawn_lines(prediction(y=np.array([5])), inputs=inputs) == ["5"]  # not one answer per row


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"x": np.zeros(1)},
        {"x": np.float32(1)},
        {"x": np.zeros((2, 100))},
        {"x": np.zeros(2), "y": np.zeros(3)},
        {"x": np.zeros(2), "y": np.float32(0)},
    ],
)
def test_inputs_that_are_not_shown(arrays: dict[str, np.ndarray]) -> None:
    """A single row, rows that are too large, and inputs without rows."""
    assert predictions.row_inputs({name: np.asarray(array) for name, array in arrays.items()}) is None
