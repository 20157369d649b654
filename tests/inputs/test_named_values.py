"""Values that are named (`-i NAME=VALUE`), and values from files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from input_signatures import (
    ANY,
    HOUSE,
    INTEGERS,
    MIXED,
    NUMBER,
    NUMBER_COLUMN,
    PAIR_OF_VECTORS,
    SCALAR,
    TEXT,
    TEXT_COLUMN,
    VECTOR,
    signature,
)

from tfsctl.core.types import ModelMetadata, Signature, TensorSpec
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.array_inputs import fit_array
from tfsctl.inputs.predict_inputs import choose_signature, example_arguments, shape_inputs, shape_lines
from tfsctl.inputs.typed_values import TEXT_HINT, signature_in_body, text_notes

IMAGE = signature(image=("float32", (None, 2, 3, 3)))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a file of every kind that `-i name=@file` reads."""
    np.save(tmp_path / "vectors.npy", np.array([[1, 2, 3], [4, 5, 6]], np.int64))
    np.save(tmp_path / "vector.npy", np.array([7.5, 8, 9]))
    np.save(tmp_path / "words.npy", np.array(["a", "ü"]))
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    (tmp_path / "vectors.json").write_text("[[1, 2, 3], [4, 5, 6]]")
    (tmp_path / "numbers.txt").write_text("1 2\n3\n", "utf-8-sig")
    with (tmp_path / "enormous.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)})
    (tmp_path / "review.txt").write_text("[great]\nreally\n")
    (tmp_path / "bytes.bin").write_bytes(b"\xff\n")
    from PIL import Image

    Image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "red.png")
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "typed", "named", "expected"),
    [
        (TEXT, [], ["text=(not) JSON=1 @x"], [b"(not) JSON=1 @x"]),
        (TEXT, [], ['text="@x"'], [b'"@x"']),
        (TEXT, ["text=@x"], [], [b"@x"]),
        (TEXT, [], ["text=a", "text=b"], [b"a", b"b"]),
        (TEXT, [], ["text=@review.txt"], [b"[great]\nreally"]),
        (TEXT, [], ["@bytes.bin"], [b"\xff\n"]),
        (TEXT, [], ["text=@words.npy"], [b"a", "ü".encode()]),
        (TEXT_COLUMN, [], ["text=@bytes.bin"], [[b"\xff\n"]]),
        (NUMBER, ["1"], ["x=2"], [1.0, 2.0]),
        (NUMBER, [], ["x=@numbers.txt"], [1.0, 2.0, 3.0]),
        (VECTOR, [], ["x=@vectors.npy"], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (VECTOR, ["0,0,0"], ["x=@vector.npy"], [[0.0, 0.0, 0.0], [7.5, 8.0, 9.0]]),
        (VECTOR, [], ["x=@vectors.json"], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        (ANY, [], ["x=@vector.npy"], [7.5, 8.0, 9.0]),
        (IMAGE, [], ["@red.png"], [[[[255.0, 0.0, 0.0]] * 3] * 2]),
    ],
)
def test_a_named_value_may_be_in_a_file(
    files: Path, monkeypatch: pytest.MonkeyPatch, wanted: Signature, typed: list[str], named: list[str], expected: Any
) -> None:
    """What follows -i is one value for one input, as it stands or from a file, and a row after those typed."""
    monkeypatch.chdir(files)
    (array,) = shape_inputs(typed, wanted, named).values()
    assert array.tolist() == expected


@pytest.mark.parametrize("typed", ["z" * 100_000, '{"instances": "%s"}' % ("z" * 100_000)])
@pytest.mark.parametrize("wanted", [NUMBER, HOUSE])
def test_long_values_are_cut_in_messages(wanted: Signature, typed: str) -> None:
    """Whatever a pipe held."""
    with pytest.raises(InvalidInput) as raised:
        shape_inputs([typed], wanted)
    assert "zzz" in raised.value.message or "instances" in raised.value.message
    assert len(raised.value.message) < 300


def test_named_values_complete_a_row() -> None:
    """Pairs of arguments and of -i make one row; a repeated name starts the next row."""
    shaped = shape_inputs(["area=1"], HOUSE, ["city=a b=c"])
    assert (shaped["area"].tolist(), shaped["city"].tolist()) == ([1.0], [b"a b=c"])


@pytest.mark.parametrize(
    ("wanted", "named", "message"),
    [
        (VECTOR, "x=@vector.npz", "cannot read"),
        (NUMBER, "x=@vectors.npy", "input 'x' has shape [2, 3], but the model wants float32 [batch]"),
        (NUMBER, "x=@words.npy", "x is <U1 [2], but the model wants float32"),
        (NUMBER, "x=@objects.npy", "objects.npy is not a .npy file of numbers or text"),
        (NUMBER, "x=@enormous.npy", "enormous.npy is not a .npy file"),
        (NUMBER, "x=@", "-i 'x=@' is not NAME=VALUE"),
        (NUMBER, "x=@bytes.bin", "bytes.bin: values for x (float32 [batch]) go in .npy, .json or .txt"),
        (NUMBER_COLUMN, "x=@vector.npy", "x[0] is 7.5, which int32 cannot hold"),
        (IMAGE, "@bytes.bin", "bytes.bin: not an image that Pillow can decode"),
        (HOUSE, "aera=1", "there is no input 'aera' (did you mean 'area'?)"),
        (HOUSE, "1", "-i '1' is not NAME=VALUE"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    files: Path, monkeypatch: pytest.MonkeyPatch, wanted: Signature, named: str, message: str
) -> None:
    """The error names the file or the value, what it is and what is wanted."""
    monkeypatch.chdir(files)
    (files / "vector.npz").mkdir()
    with pytest.raises(InvalidInput) as caught:
        shape_inputs([], wanted, [named])
    assert message in caught.value.message


def test_a_file_that_is_not_there_is_not_found() -> None:
    """A hint shows how to send text that looks like a file."""
    with pytest.raises(NotFound, match=r"^no file nope\.txt$") as caught:
        shape_inputs([], TEXT, ["text=@nope.txt"])
    assert caught.value.hint == "to send text that begins with @, write NAME=@… without -i"


@pytest.mark.parametrize(
    ("array", "dtype", "fits"),
    [
        (np.array([255]), "uint8", True),
        (np.array([256]), "uint8", False),
        (np.array([-1]), "uint64", False),
        (np.array([2**64 - 1], np.uint64), "int64", False),
        (np.array([2.0]), "int64", True),
        (np.array([np.nan]), "int32", False),
        (np.array([1e20]), "int64", False),
        (np.array([1.5], np.float64), "float16", True),
        (np.array([True]), "float32", False),
        (np.array([1]), "bool", False),
        (np.array([1j]), "float32", False),
        (np.array([1]), "complex64", True),
        (np.array([b"a"]), "string", True),
        (np.array([1]), "string", False),
    ],
)
def test_an_array_is_cast_where_no_value_changes(array: np.ndarray, dtype: str, fits: bool) -> None:
    """Narrower dtypes take what they can hold; numbers are no truth values, and neither is text."""
    spec = TensorSpec("x", dtype, (None,))
    if fits:
        assert fit_array(array, spec).tolist() == array.tolist()
    else:
        with pytest.raises(InvalidInput):
            fit_array(array, spec)


@pytest.mark.parametrize(
    "wanted", [TEXT, TEXT_COLUMN, NUMBER, NUMBER_COLUMN, VECTOR, PAIR_OF_VECTORS, SCALAR, ANY, HOUSE]
)
def test_the_example_fits(wanted: Signature) -> None:
    """The example in the hint of an error is accepted."""
    words = [example_arguments(wanted, for_shell=False)]
    found = shape_inputs(words, wanted)
    assert found.keys() == {spec.name for spec in wanted.inputs}
    typed = shape_inputs(shlex.split(example_arguments(wanted)), wanted)  # the same in a shell
    assert {name: array.tolist() for name, array in typed.items()} == {
        name: array.tolist() for name, array in found.items()
    }


def test_a_signature_without_inputs_takes_an_empty_object() -> None:
    """There is nothing to name, and nothing else to type."""
    nothing = Signature("version", (), ())
    assert shape_inputs(["{}"], nothing) == {}
    with pytest.raises(InvalidInput, match="'5' does not name one of the 0 inputs; version takes no inputs"):
        shape_inputs(["5"], nothing)


def test_an_example_too_long_to_type_is_left_out() -> None:
    """Nobody types an image of numbers."""
    assert example_arguments(signature(image=("float32", (None, 224, 224, 3)))) == ""


def test_the_example_of_an_image_is_a_file() -> None:
    """However few numbers it would be."""
    with pytest.raises(InvalidInput) as caught:
        shape_inputs(["1"], IMAGE)
    assert caught.value.hint == "for example: -i image=@photo.jpg"


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (['{"inputs": {"left": [[1, 2, 3]], "training": false, "keep": 1.0}}'], []),
        (['{"left": [[1, 2, 3]], "training": false, "keep": 1.0}'], []),
        (["left=[1,2,3]", "training=false", "keep=1.0"], []),
        ([], ["left=[1,2,3]", "training=false", "keep=1.0"]),
    ],
)
def test_scalars_of_unknown_rank_stay_scalars(typed: list[str], named: list[str]) -> None:
    """One value by name is the whole input, where nothing says that it is a batch."""
    arrays = shape_inputs(typed, MIXED, named)

    assert {name: array.tolist() for name, array in arrays.items()} == {
        "left": [[1.0, 2.0, 3.0]],
        "training": False,
        "keep": 1.0,
    }


def test_single_input_of_unknown_rank() -> None:
    """A value given by name keeps its shape, as a TF1 placeholder without a shape may need a scalar."""
    signature = Signature("s", (TensorSpec("delta", "float32", None),), ())

    assert shape_inputs(["delta=2"], signature)["delta"].shape == ()
    assert shape_inputs([], signature, ["delta=[1,2]"])["delta"].shape == (2,)
    assert shape_inputs(["2"], signature)["delta"].shape == (1,)


def test_signature_without_inputs() -> None:
    """Nothing has to be typed, on the command line or on stdin."""
    signature = Signature("get_counter", (), (TensorSpec("output", "float32", ()),))

    assert shape_inputs([], signature) == {}
    assert shape_lines([], signature) == {}


def test_rows_of_unknown_rank_are_batches() -> None:
    """Several rows, rows of `instances`, and values without a name."""
    rows = ["left=[1,2,3]", "training=true", "keep=1", "left=[4,5,6]", "training=false", "keep=0.5"]
    assert shape_inputs(rows, MIXED)["keep"].tolist() == [1.0, 0.5]
    instances = '{"instances": [{"left": [1, 2, 3], "training": true, "keep": 1}]}'
    assert shape_inputs([instances], MIXED)["keep"].tolist() == [1.0]
    assert shape_inputs(["2"], ANY)["x"].tolist() == [2.0]
    assert shape_inputs(['{"inputs": 2}'], ANY)["x"].tolist() == 2.0


@pytest.mark.parametrize("typed", ["1e400", "-1e400", "[1e400]", '{"x": 1E+0400}', "1" + "0" * 400 + ".0"])
@pytest.mark.parametrize("wanted", [NUMBER, INTEGERS])
def test_numbers_that_no_float64_holds_are_refused(wanted: Signature, typed: str) -> None:
    """They would become Infinity."""
    with pytest.raises(InvalidInput, match="too large"):
        shape_inputs([typed], wanted)


@pytest.mark.parametrize("typed", ["[9007199254740993.0]", '{"x": [9007199254740993.0]}'])
def test_json_floats_for_integers_are_exact_or_refused(typed: str) -> None:
    """The digits beyond 2**53 are gone when JSON was parsed."""
    with pytest.raises(InvalidInput, match="may lose digits"):
        shape_inputs([typed], INTEGERS)


@pytest.mark.parametrize("typed", ["{'single': 'quotes'}", '{"instances": ["x"]', "[spoiler] it ends", " {"])
def test_broken_json_is_not_text(typed: str) -> None:
    """An argument that begins with a bracket or a brace is JSON, or sent with --text."""
    with pytest.raises(InvalidInput, match="looks like JSON, but is not valid JSON") as caught:
        shape_inputs([typed], TEXT)
    assert caught.value.hint == "--text sends it as text"
    assert shape_inputs([typed], TEXT, as_text=True)["text"].tolist() == [typed.encode()]


@pytest.mark.parametrize("typed", ['["a"]', '"a"', '{"inputs": ["a"]}', "text=a", "@a", ""])
def test_text_as_it_is(typed: str) -> None:
    """--text parses nothing."""
    assert shape_inputs([typed, "b"], TEXT, as_text=True)["text"].tolist() == [typed.encode(), b"b"]
    assert shape_inputs([typed], TEXT_COLUMN, as_text=True)["text"].tolist() == [[typed.encode()]]


def test_named_text_as_it_is() -> None:
    """--text applies to the strings of -i, and not to files."""
    assert shape_inputs([], HOUSE, ["area=1", 'city=["a"]'], as_text=True)["city"].tolist() == [b'["a"]']


def test_text_is_for_models_that_take_text() -> None:
    """A model of numbers, and one with several inputs, have no use for --text."""
    for wanted in (NUMBER, HOUSE):
        with pytest.raises(InvalidInput, match="need a model with one string input"):
            shape_inputs(["1"], wanted, as_text=True)


@pytest.mark.parametrize(
    ("typed", "note"),
    [
        (["txt=great"], "'txt=great' is sent as text; there is no input 'txt' (did you mean 'text'?)"),
        (
            ["review.txt"],
            "'review.txt' is sent as text, and not the content of that file: -i text=@review.txt sends it",
        ),
        (["@review.txt"], "'@review.txt' is sent as text; -i text=@review.txt sends the content of the file"),
        (["this", "movie", "is", "great"], "4 arguments are 4 rows; a text with spaces goes in quotes"),
        (["a great movie", "bad"], None),
        (["great"], None),
        (["text=great"], None),
        (["nope.txt"], None),
        (["a\0b"], None),
    ],
)
def test_arguments_that_look_like_something_else_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], note: str | None
) -> None:
    """Arguments that look like something else are noted."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "review.txt").write_text("great")

    assert text_notes(typed, TEXT) == ([] if note is None else [note])
    assert text_notes(typed, NUMBER) == []


@pytest.mark.parametrize("line", ['{"instances": ["a"]}', "[1]", '"a"', "text=a", "", "[sic] a", "5"])
def test_lines_of_text_are_text(line: str) -> None:
    """A line of stdin is the text, as it is."""
    assert shape_lines([line, "b"], TEXT)["text"].tolist() == [line.encode(), b"b"]


@pytest.mark.parametrize(
    ("wanted", "lines", "expected"),
    [
        (NUMBER, ["1", "[2]", '{"x": 3}', "x=4", '{"instances": [5]}'], [1.0, 2.0, 3.0, 4.0, 5.0]),
        (NUMBER_COLUMN, ["1", "[2]"], [[1], [2]]),
        (VECTOR, ["1 2 3", "[4,5,6]", "7,8,9"], [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (signature(x=("float32", (None, None))), ["[]", "x=[]"], [[], []]),
    ],
)
def test_lines_are_rows(wanted: Signature, lines: list[str], expected: list[object]) -> None:
    """Each line is exactly one row."""
    assert shape_lines(lines, wanted)["x"].tolist() == expected


@pytest.mark.parametrize(
    ("wanted", "line", "message"),
    [
        (NUMBER, "great", "line 2: 'great' is not float32"),
        (NUMBER, "", "line 2: '' is not float32"),
        (NUMBER, "[2", "line 2: '[2' is not JSON"),
        (NUMBER, "2 3", "line 2: 2 rows for x"),
        (NUMBER, "[]", "line 2: 0 rows for x"),
        (NUMBER, '{"instances": [2, 3]}', "line 2: "),
        (NUMBER, '"2"', "line 2: x is text"),
        (VECTOR, "1", "line 2: input 'x' has shape"),
        (HOUSE, "area=2", "line 2: there is no value for city"),
        (HOUSE, '{"area": [2, 3], "city": ["a", "b"]}', "line 2: 2 rows for area"),
    ],
)
def test_a_line_that_is_not_a_row_is_named(wanted: Signature, line: str, message: str) -> None:
    """Answers line up with lines, so a line that is not one row is an error with its number."""
    first = {1: "1", 2: "area=1 city=a"}[len(wanted.inputs)] if wanted is not VECTOR else "1 2 3"
    with pytest.raises(InvalidInput) as caught:
        shape_lines([first, line], wanted)
    assert caught.value.message.startswith(message)


def test_text_that_is_not_utf8_is_refused() -> None:
    """An argument in Latin-1 is decoded with surrogate escapes."""
    with pytest.raises(InvalidInput, match="not UTF-8 text") as caught:
        shape_inputs(["caf\udce9"], TEXT)
    assert "iconv" in caught.value.hint
    with pytest.raises(InvalidInput, match="line 2 is not UTF-8 text"):
        shape_lines(["a", "caf\udce9"], TEXT)


@given(st.text())
def test_any_text_is_a_row_of_itself_in_a_json_list(text: str) -> None:
    """In a JSON list, every text arrives as it is, whatever it looks like."""
    import json

    assert shape_inputs([json.dumps([text])], TEXT)["text"].tolist() == [text.encode("utf-8", "surrogateescape")]


@pytest.mark.parametrize(
    ("wanted", "typed", "named", "value", "message"),
    [
        (HOUSE, "area=1 city={}", "", "[b]", "is not valid JSON"),
        (HOUSE, "area=1", "city={}", "{b", "is not valid JSON"),
        (HOUSE, "area=1 city={}", "", '{"a": 1}', "is not a list of strings"),
        (TEXT, "text={}", "", "[b", "is not valid JSON"),
        (TEXT, "", "text={}", "['a']", "is not valid JSON"),
    ],
)
def test_a_value_that_begins_like_json_is_json(
    wanted: Signature, typed: str, named: str, value: str, message: str
) -> None:
    """Broken JSON is never sent as text; the value in the hint is."""

    def shape(written: str) -> dict[str, np.ndarray]:
        arguments, values = ([text.replace("{}", written)] if text else [] for text in (typed, named))
        return dict(shape_inputs(arguments, wanted, values))

    with pytest.raises(InvalidInput, match="looks like JSON, but " + message) as caught:
        shape(value)
    _, start, hinted = caught.value.hint.partition("to send it as text, write it as a JSON list: ")
    assert start
    assert shape(hinted)[wanted.inputs[-1].name].tolist() == [value.encode()]


@given(st.text())
def test_any_text_is_shaped_or_refused(text: str) -> None:
    """No text ends in anything but inputs or InvalidInput."""
    explained = []
    for wanted in (TEXT, NUMBER, VECTOR, SCALAR, HOUSE):
        try:
            assert shape_inputs([text], wanted).keys() == {spec.name for spec in wanted.inputs}
        except InvalidInput as error:
            explained.append(error.hint)
    starts = ("for example: ", "to send it as text, write it as a JSON list: ", TEXT_HINT)
    assert all(hint.startswith(starts) for hint in explained)


@given(st.text())
def test_any_line_is_one_row_or_refused(text: str) -> None:
    """Answers line up with lines, whatever the lines are."""
    explained = []
    for wanted in (TEXT, TEXT_COLUMN, NUMBER, NUMBER_COLUMN, VECTOR, HOUSE):
        try:
            assert {len(array) for array in shape_lines([text], wanted).values()} == {1}
        except InvalidInput as error:
            explained.append((error.message[:6], bool(error.hint)))
    assert set(explained) <= {("line 1", True)}


@given(st.lists(st.floats(width=32), min_size=1))
def test_numbers_arrive_as_they_were_typed(numbers: list[float]) -> None:
    """Every float32, infinite or not a number, typed as one argument or as several."""
    expected = np.array(numbers, np.float32)
    np.testing.assert_array_equal(shape_inputs([repr(number) for number in numbers], NUMBER)["x"], expected)
    np.testing.assert_array_equal(shape_inputs([",".join(map(repr, numbers))], NUMBER)["x"], expected)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (['{"signature_name": "s", "inputs": [1]}'], "s"),
        (['{"inputs": [1]}'], None),
        (['{"signature_name": "s"}'], None),
        (["signature_name=s"], None),
        (["a", '{"signature_name": "s", "instances": []}'], "s"),
    ],
)
def test_a_body_may_name_its_signature(typed: list[str], expected: str | None) -> None:
    """A pasted request body says which signature it is for."""
    assert signature_in_body(typed) == expected


def metadata(*names: str) -> ModelMetadata:
    """A model with signatures of these names."""
    return ModelMetadata("m", 1, {name: Signature(name, (), ()) for name in names})


def test_the_default_or_only_signature_needs_no_name() -> None:
    """`serving_default` needs no naming, nor does one without rivals."""
    assert choose_signature(metadata("a", "serving_default"), None).name == "serving_default"
    assert choose_signature(metadata("a"), None).name == "a"
    assert choose_signature(metadata("a", "serving_default"), "a").name == "a"


def test_an_unknown_signature_is_an_error_that_lists_the_known_ones() -> None:
    """The error lists the signatures, and the hint the closest."""
    with pytest.raises(NotFound) as caught:
        choose_signature(metadata("classify", "regress"), "clasify")
    assert caught.value.message == "m has no signature 'clasify', only classify, regress"
    assert caught.value.hint == "did you mean --signature classify?"
    with pytest.raises(NotFound, match="m has no signature 'serving_default', only a, b"):
        choose_signature(metadata("a", "b"), None)
