"""Which reader a file takes: by its ending, unless the format is said."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from tfsctl.core.types import Signature
from tfsctl.data.blocks import STDIN, Source
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.images import SUFFIXES, takes_images

Format = Literal["csv", "tsv", "json", "jsonl", "lines", "npy", "npz", "parquet", "tfrecord", "images"]
FORMATS: tuple[Format, ...] = get_args(Format)
_FORMAT_OF_SUFFIX: dict[str, Format] = {
    **{f".{name}": name for name in FORMATS if name not in ("lines", "images")},
    ".ndjson": "jsonl",
    ".txt": "lines",
    ".tfrecords": "tfrecord",
    ".pq": "parquet",
    **dict.fromkeys(SUFFIXES, "images"),
}


def open_source(asked: str, signature: Signature, *, format: Format | None = None) -> Source:  # noqa: A002 - the option's name
    """The rows of a file, of stdin (`-`), or of the images in a directory or behind a glob pattern.

    Raises NotFound where nothing is there, InvalidInput for a file of unknown format or one the model cannot take.
    """
    if asked == STDIN:
        return _from_stdin(signature, format)
    if not os.path.exists(asked):
        if not glob.has_magic(asked):
            raise NotFound(f"there is no file {asked}")
        return _images(asked, [Path(file) for file in glob.glob(asked, recursive=True)], signature, format)
    path = Path(asked)
    if path.is_dir():
        return _images(asked, list(path.rglob("*")), signature, format)
    chosen = format or _format_of(path)
    if chosen == "images":
        return _images(asked, [path], signature, chosen)
    return _reader(chosen, path, path.name, signature)


def _format_of(path: Path) -> Format:
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    chosen = _FORMAT_OF_SUFFIX.get(suffix.lower())
    if chosen is None:
        raise InvalidInput(f"what is in {path.name}?", hint=f"--format says it: {', '.join(FORMATS)}")
    return chosen


def _from_stdin(signature: Signature, chosen: Format | None) -> Source:
    from tfsctl.data.json_rows import TextLines

    if chosen in ("images", "parquet", "npz"):
        raise InvalidInput(f"{chosen} cannot be read from stdin", hint="give a file: --file PATH")
    if chosen is None:
        return TextLines("stdin", STDIN, sniff=signature)
    return _reader(chosen, STDIN, "stdin", signature)


def _reader(chosen: Format, path: Path | str, name: str, signature: Signature) -> Source:
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
    return _plain_reader(chosen)(name, path)


def _plain_reader(chosen: Format) -> Callable[[str, Path | str], Source]:
    """The readers that need no more than a name and a path."""
    if chosen in ("npy", "npz"):
        from tfsctl.data.array_rows import NpyRows, NpzRows

        return NpyRows if chosen == "npy" else NpzRows
    if chosen == "parquet":
        from tfsctl.data.parquet_rows import ParquetRows

        return ParquetRows
    from tfsctl.data.json_rows import JsonLines, TextLines

    return JsonLines if chosen == "jsonl" else TextLines


def _images(asked: str, found: list[Path], signature: Signature, said: Format | None) -> Source:
    """Those of the files that are called images, or all if they are said to be."""
    from tfsctl.data.image_rows import ImageRows

    files = sorted(f for f in found if (said == "images" or f.suffix.lower() in SUFFIXES) and f.is_file())
    if not files:
        raise NotFound(f"there are no images in {asked}", hint=f"they end in {', '.join(SUFFIXES)}")
    if len(signature.inputs) != 1 or not takes_images(signature.inputs[0]):
        wanted = ", ".join(f"{spec.name} {spec.dtype} {spec.shape_text}" for spec in signature.inputs)
        raise InvalidInput(f"{signature.name} takes {wanted}, which images cannot be")
    return ImageRows(asked, files, signature.inputs[0])
