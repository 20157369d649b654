"""Chooses the reader of a file: by its suffix, or by the format the user names."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from tfsctl.core.similar_paths import similar_path_hint
from tfsctl.core.types import Signature
from tfsctl.data.blocks import STDIN, RowSource
from tfsctl.data.csv_format import DEFAULT_FORMAT, TextFormat
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.images import IMAGE_SUFFIXES, takes_images

Format = Literal["csv", "tsv", "json", "jsonl", "text", "npy", "npz", "parquet", "tfrecord", "images", "recording"]
FORMATS: tuple[Format, ...] = get_args(Format)
_TEXT_FORMATS = {"csv", "tsv", "json", "jsonl", "text"}
_FORMAT_OF_SUFFIX: dict[str, Format] = {
    **{f".{name}": name for name in FORMATS if name not in ("text", "images", "recording")},
    ".ndjson": "jsonl",
    ".txt": "text",
    ".tfrecords": "tfrecord",
    ".pq": "parquet",
    **dict.fromkeys(IMAGE_SUFFIXES, "images"),
}
# How to save other files of rows in a format that can be read.
_HOW_TO_SAVE = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save the sheet as CSV (UTF-8) in the spreadsheet program"
    ),
    **dict.fromkeys((".pkl", ".pickle"), "load it in Python, and save the rows with DataFrame.to_csv or numpy.save"),
    **dict.fromkeys((".feather", ".arrow", ".orc", ".avro"), "save the rows as Parquet: DataFrame.to_parquet"),
    **dict.fromkeys((".h5", ".hdf5", ".mat"), "load it in Python, and save the arrays with numpy.savez"),
    **dict.fromkeys(
        (".zip", ".tar", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst"), "unpack it first; only .gz is read"
    ),
}


def open_source(
    location: str,
    signature: Signature,
    *,
    format: Format | None = None,  # noqa: A002 - the option's name
    text_format: TextFormat = DEFAULT_FORMAT,
    note: Callable[[str], None] = lambda _text: None,
) -> RowSource:
    """The rows of a file, of stdin (`-`), or of the images in a directory or of a glob pattern.

    `text_format` says how a file of text is written, and `note` is called with what was detected instead.

    Raises NotFound if there is no such file, InvalidInput for an unknown format or one that the model cannot take.
    """
    if location == STDIN:
        return _from_stdin(signature, format, text_format, note)
    check_exists(location)
    if not os.path.exists(location):
        found = [Path(file) for file in sorted(glob.glob(location, recursive=True))]
        if _FORMAT_OF_SUFFIX.get(Path(location).suffix.lower(), "images") != "images" and format != "images":
            raise _no_images(location, found)
        return _images(location, found, signature, format)
    path = Path(location)
    if format == "recording":
        return _reader(_checked_format(format, text_format), path, path.name, signature, text_format, note)
    if path.is_dir():
        return _images(location, list(path.rglob("*")), signature, format)
    chosen = _checked_format(format or _format_of(path, text_format), text_format)
    if chosen == "images":
        return _images(location, [path], signature, chosen)
    return _reader(chosen, path, path.name, signature, text_format, note)


def check_exists(location: str) -> None:
    """Raise NotFound if there is no such file or directory. Stdin and glob patterns are not checked."""
    if location != STDIN and not os.path.exists(location) and not glob.has_magic(location):
        if "://" in location:
            raise NotFound(f"{location} is not a file of this machine", hint="copy the file to this machine first")
        raise NotFound(f"there is no file {location}", hint=similar_path_hint(location))


def _checked_format(chosen: Format, text_format: TextFormat) -> Format:
    """The format. Raises InvalidInput for options of another format."""
    if text_format.csv_options and chosen not in ("csv", "tsv"):
        raise InvalidInput(
            f"{text_format.csv_options[0]} applies to CSV files, but the format is {chosen}",
            hint="remove it, or add --format csv",
        )
    if text_format.encoding is not None and chosen not in _TEXT_FORMATS:
        raise InvalidInput(f"--encoding applies to text files, but the format is {chosen}", hint="remove --encoding")
    return chosen


def _format_of(path: Path, text_format: TextFormat) -> Format:
    """The format by the suffix. A file with the options of CSV is CSV if the suffix is unknown or that of text."""
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    chosen = _FORMAT_OF_SUFFIX.get(suffix.lower())
    if chosen in (None, "text") and text_format.csv_options:
        return "csv"
    if chosen is None:
        if how := _HOW_TO_SAVE.get(path.suffix.lower()):
            raise InvalidInput(f"cannot read {path.name}: tfsctl has no reader for {path.suffix} files", hint=how)
        raise InvalidInput(
            f"cannot tell the format of {path.name}", hint=f"add --format and one of {', '.join(FORMATS)}"
        )
    return chosen


def _from_stdin(
    signature: Signature, chosen: Format | None, text_format: TextFormat, note: Callable[[str], None]
) -> RowSource:
    chosen = _checked_format(chosen or ("csv" if text_format.csv_options else "text"), text_format)
    if chosen in ("images", "parquet", "npz"):
        raise InvalidInput(f"{chosen} cannot be read from stdin", hint="give a file: --file PATH")
    return _reader(chosen, STDIN, "stdin", signature, text_format, note)


def _reader(
    chosen: Format,
    path: Path | str,
    name: str,
    signature: Signature,
    text_format: TextFormat,
    note: Callable[[str], None],
) -> RowSource:
    if chosen in ("csv", "tsv"):
        from tfsctl.data.readers.csv_rows import CsvRows

        return CsvRows(name, path, None if chosen == "csv" else "\t", text_format, note)
    if chosen == "tfrecord":
        from tfsctl.data.readers.record_rows import RecordRows

        return RecordRows(name, path, signature)
    if chosen == "recording":
        from tfsctl.data.readers.recording_rows import RecordingRows

        return RecordingRows(name, path, signature, note)
    if chosen == "json":
        from tfsctl.data.readers.json_rows import JsonDocument

        return JsonDocument(name, path, signature, text_format.encoding)
    if chosen == "text":
        from tfsctl.data.readers.json_rows import TextLines

        return TextLines(name, path, signature, text_format.encoding)
    if chosen == "jsonl":
        from tfsctl.data.readers.json_rows import JsonLines

        return JsonLines(name, path, text_format.encoding)
    return _plain_reader(chosen)(name, path)


def _plain_reader(chosen: Format) -> Callable[[str, Path | str], RowSource]:
    """The readers that need a name and a path only."""
    if chosen in ("npy", "npz"):
        from tfsctl.data.readers.array_rows import NpyRows, NpzRows

        return NpyRows if chosen == "npy" else NpzRows
    from tfsctl.data.readers.parquet_rows import ParquetRows

    return ParquetRows


def _no_images(location: str, found: list[Path]) -> NotFound:
    """The error for a pattern of files that are no images: of those, one is read at a time."""
    if not found:
        return NotFound(f"there is no file {location}", hint=similar_path_hint(location))
    several = f"{found[0]} and {len(found) - 1} more" if len(found) > 1 else str(found[0])
    return NotFound(
        f"a pattern stands for images only, and {location} matches {several}",
        hint=f"--file {shlex.quote(str(found[0]))}",
    )


def _images(location: str, found: list[Path], signature: Signature, chosen: Format | None) -> RowSource:
    """The files with the suffix of an image, or all files if the user chose the format `images`."""
    from tfsctl.data.readers.image_rows import ImageRows

    files = sorted(f for f in found if (chosen == "images" or f.suffix.lower() in IMAGE_SUFFIXES) and f.is_file())
    if not files:
        raise NotFound(f"there are no images in {location}", hint=f"image files end in {', '.join(IMAGE_SUFFIXES)}")
    if len(signature.inputs) != 1 or not takes_images(signature.inputs[0]):
        wanted = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
        raise InvalidInput(f"{signature.name} takes {wanted}, which images cannot be")
    return ImageRows(location, files, signature.inputs[0])
