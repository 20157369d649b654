"""Files of vectors, keys and tokens: what is read, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tfsctl.errors import InvalidInput, NotFound
from tfsctl.exporter.sources.export_options import ExportOptions
from tfsctl.exporter.sources.model_source import parse_source
from tfsctl.exporter.sources.servables.text_lines import read_lines
from tfsctl.exporter.sources.servables.vector_files import read_vectors

VECTORS = np.array([[1, 2], [3, 4.5]], np.float32)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file of two keys, with Windows line ends and a byte order mark."""
    (tmp_path / "keys.txt").write_bytes("\ufeffone\r\nzwölf\r\n".encode())
    return tmp_path / "keys.txt"


def test_every_file_format_gives_the_same_vectors(tmp_path: Path, keys: Path) -> None:
    """The same table in every format."""
    np.save(tmp_path / "v.npy", VECTORS)
    np.savez(tmp_path / "v.npz", vectors=VECTORS, keys=["one", "zwölf"])
    (tmp_path / "v.csv").write_text("1,2\n3,4.5\n")
    (tmp_path / "k.csv").write_text("word,a,b\none,1,2\nzwölf,3,4.5\n")
    (tmp_path / "v.tsv").write_text("one\t1\t2\nzwölf\t3\t4.5\n")

    files: list[tuple[str, Path | None]] = [
        ("v.npy", keys),
        ("v.npz", None),
        ("v.npz", keys),
        ("v.csv", keys),
        ("k.csv", None),
        ("v.tsv", None),
    ]
    for name, keys_file in files:
        found = read_vectors(tmp_path / name, keys_file)
        assert list(found.keys) == ["one", "zwölf"], name
        assert found.vectors.dtype == np.float32
        np.testing.assert_array_equal(found.vectors, VECTORS)


def test_the_content_tells_the_format_of_numpy_files(tmp_path: Path, keys: Path) -> None:
    """Either format is read under both suffixes."""
    np.savez(tmp_path / "archive.npz", vectors=VECTORS)
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    np.save(tmp_path / "array.npy", VECTORS)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")

    for name in ("archive.npy", "array.npz"):
        np.testing.assert_array_equal(read_vectors(tmp_path / name, keys).vectors, VECTORS)


def test_conversion_to_float32_is_noted(tmp_path: Path, keys: Path) -> None:
    """Vectors are float32."""
    np.save(tmp_path / "v.npy", VECTORS.astype(np.float64))
    assert read_vectors(tmp_path / "v.npy", keys).notes == (
        "the vectors of v.npy were converted from float64 to float32",
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(2), r"holds an array of float64 \[2\], but vectors must be a table"),
        (np.zeros((2, 0)), "vectors must be a table of numbers"),
        (np.zeros((3, 2)), "there are 2 keys, and 3 vectors"),
        (np.array([["a"], ["b"]]), "vectors must be a table of numbers"),
        (np.array([[1.0], [np.nan]]), r"the vector of 'zwölf' \(row 2 of .*\) has values that are not finite"),
    ],
)
def test_unusable_arrays_are_refused_with_the_reason(
    array: np.ndarray, message: str, tmp_path: Path, keys: Path
) -> None:
    """The shape, the number, or the row is named."""
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(InvalidInput, match=message):
        read_vectors(tmp_path / "v.npy", keys)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1\nb,x\n", "row 2: could not convert"),
        ("a,1\nb,1,2\n", "row 2 has 2 numbers, and the first has 1"),
        ("a,1\na,2\n", "row 2 repeats row 1: a"),
    ],
)
def test_unusable_csv_is_refused_with_the_row(text: str, message: str, tmp_path: Path) -> None:
    """The row is named."""
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        read_vectors(tmp_path / "v.csv", None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\nb\na\n", "line 3 repeats line 1: a"),
        (b"a\n\nb\n", "line 2 is empty"),
        (b"", "has no lines"),
        (b"caf\xe9", "is not UTF-8 text"),
    ],
)
def test_unusable_text_is_refused_with_the_line(content: bytes, message: str, tmp_path: Path) -> None:
    """The line is named."""
    (tmp_path / "keys.txt").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        read_lines(tmp_path / "keys.txt")
    with pytest.raises(NotFound):
        read_lines(tmp_path / "nowhere.txt")


def test_array_files_that_are_damaged_or_need_pickle_are_refused(tmp_path: Path, keys: Path) -> None:
    """Files that numpy cannot read, or that need pickle."""
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY")
    np.save(tmp_path / "o.npy", np.array([[object()]], object), allow_pickle=True)
    for name in ("v.npy", "o.npy"):
        with pytest.raises(InvalidInput, match="cannot read"):
            read_vectors(tmp_path / name, keys)


def test_suffix_or_option_decides_the_kind_of_a_file(tmp_path: Path, keys: Path) -> None:
    """The suffix tells, or an option; a table alone does not."""
    for name in ("v.npy", "v.npz", "v.csv", "vocab.txt", "vocab"):
        (tmp_path / name).touch()

    def kind(name: str, options: ExportOptions = ExportOptions()) -> str:  # noqa: B008 - immutable
        return parse_source(str(tmp_path / name), options).kind

    assert kind("v.npz") == kind("v.npy", ExportOptions(keys=keys)) == kind("v.csv", ExportOptions(keys=keys))
    assert kind("v.csv", ExportOptions(kind="embeddings")) == "embeddings"
    assert kind("vocab.txt") == kind("vocab", ExportOptions(kind="vocabulary")) == "vocabulary"
    with pytest.raises(InvalidInput, match="may hold vectors") as table:
        kind("v.csv")
    assert table.value.hint.startswith("--as embeddings")
    with pytest.raises(InvalidInput, match="has no keys for its vectors"):
        kind("v.npy")
    with pytest.raises(InvalidInput, match="needs a rule"):
        ExportOptions().refuse_for("vocabulary")
    with pytest.raises(InvalidInput, match="--k is for a file of vectors, but SOURCE is a vocabulary"):
        ExportOptions(k=3, oov="error").refuse_for("vocabulary")
