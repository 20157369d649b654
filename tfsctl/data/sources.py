"""Chooses the reader of a file: by its suffix, or by the format the user names."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from tfsctl.core.types import Signature
from tfsctl.data.blocks import STDIN, RowSource
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.images import SUFFIXES, takes_images

Format = Literal["csv", "tsv", "json", "jsonl", "text", "npy", "npz", "parquet", "tfrecord", "images"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FORMAT_OF_SUFFIX: dict[str, Format] = {
    **{f".{name}": name for name in FORMATS if name not in ("text", "images")},
    ".ndjson": "jsonl",
    ".txt": "text",
    ".tfrecords": "tfrecord",
    ".pq": "parquet",
    **dict.fromkeys(SUFFIXES, "images"),
}


def open_source(location: str, signature: Signature, *, format: Format | None = None) -> RowSource:  # noqa: A002 - the option's name
    """The rows of a file, of stdin (`-`), or of the images in a directory or of a glob pattern.

    Raises NotFound if there is no such file, InvalidInput for an unknown format or one that the model cannot take.
    """
    if location == STDIN:
        return _from_stdin(signature, format)
    check_exists(location)
    if not os.path.exists(location):
        return _images(location, [Path(file) for file in glob.glob(location, recursive=True)], signature, format)
    path = Path(location)
    if path.is_dir():
        return _images(location, list(path.rglob("*")), signature, format)
    chosen = format or _format_of(path)
    if chosen == "images":
        return _images(location, [path], signature, chosen)
    return _reader(chosen, path, path.name, signature)


def check_exists(location: str) -> None:
    """Raise NotFound if there is no such file or directory. Stdin and glob patterns are not checked."""
    if location != STDIN and not os.path.exists(location) and not glob.has_magic(location):
        raise NotFound(f"there is no file {location}")


def _format_of(path: Path) -> Format:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    chosen = _FORMAT_OF_SUFFIX.get(suffix.lower())
    if chosen is None:
        raise InvalidInput(f"what is in {path.name}?", hint=f"--format says it: {', '.join(FORMATS)}")
    return chosen


def _from_stdin(signature: Signature, chosen: Format | None) -> RowSource:
    if chosen in ("images", "parquet", "npz"):
        raise InvalidInput(f"{chosen} cannot be read from stdin", hint="give a file: --file PATH")
    return _reader(chosen or "text", STDIN, "stdin", signature)


def _reader(chosen: Format, path: Path | str, name: str, signature: Signature) -> RowSource:
    from tfsctl.data.csv_rows import CsvRows

    if chosen == "csv":
        return CsvRows(name, path)
    if chosen == "tsv":
        return CsvRows(name, path, "\t")
    if chosen == "tfrecord":
        from tfsctl.data.record_rows import RecordRows

        return RecordRows(name, path, signature)
    if chosen == "json":
        from tfsctl.data.json_rows import JsonDocument

        return JsonDocument(name, path, signature)
    if chosen == "text":
        from tfsctl.data.json_rows import TextLines

        return TextLines(name, path, signature)
    return _plain_reader(chosen)(name, path)


def _plain_reader(chosen: Format) -> Callable[[str, Path | str], RowSource]:
    """The readers that need a name and a path only."""
    if chosen in ("npy", "npz"):
        from tfsctl.data.array_rows import NpyRows, NpzRows

        return NpyRows if chosen == "npy" else NpzRows
    if chosen == "parquet":
        from tfsctl.data.parquet_rows import ParquetRows

        return ParquetRows
    from tfsctl.data.json_rows import JsonLines

    return JsonLines


def _images(location: str, found: list[Path], signature: Signature, given: Format | None) -> RowSource:
    """The files with the suffix of an image, or all files if the format was given as images."""
    from tfsctl.data.image_rows import ImageRows

    files = sorted(f for f in found if (given == "images" or f.suffix.lower() in SUFFIXES) and f.is_file())
    if not files:
        raise NotFound(f"there are no images in {location}", hint=f"they end in {', '.join(SUFFIXES)}")
    if len(signature.inputs) != 1 or not takes_images(signature.inputs[0]):
        wanted = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
        raise InvalidInput(f"{signature.name} takes {wanted}, which images cannot be")
    return ImageRows(location, files, signature.inputs[0])
