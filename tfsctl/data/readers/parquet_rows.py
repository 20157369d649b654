"""Reads rows from Parquet files with pyarrow, an optional dependency (`pip install 'tfsctl[parquet]'`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.data.blocks import MAX_BLOCK_ROWS, Block, open_file
from tfsctl.errors import InvalidInput, TfsctlError

if TYPE_CHECKING:
    import pyarrow as pa

    from tfsctl.data.blocks import Column


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The rows of a Parquet file."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows, one Arrow record batch at a time.

        Raises InvalidInput if the file is not Parquet, TfsctlError if pyarrow is not installed.
        """
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise TfsctlError(
                "reading Parquet files needs pyarrow, which is not installed", hint="pip install pyarrow"
            ) from error
        done = 0
        with open_file(self.path) as (raw, _position):
            try:
                file = parquet.ParquetFile(raw)
                total = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=MAX_BLOCK_ROWS):
                    done += batch.num_rows
                    names = tuple(batch.schema.names)
                    yield Block(batch.num_rows, names, partial(_column, batch), fraction_read=done / max(total, 1))
            except (pa.ArrowInvalid, OSError) as error:
                words = " ".join("".join(filter(str.isprintable, line)) for line in str(error).split("\n")).strip()
                raise InvalidInput(f"{self.name} is not a readable Parquet file: {words}") from error


def _column(batch: pa.RecordBatch, name: str) -> Column:
    """Numbers without nulls as an array, anything else as a list of Python values."""
    column = batch.column(name)
    if str(column.type).startswith("decimal"):
        column = column.cast("float64")
    is_numeric = column.null_count == 0 and str(column.type) in _NUMERIC_TYPES
    return column.to_numpy(zero_copy_only=False) if is_numeric else column.to_pylist()


_NUMERIC_TYPES = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {
    "float",
    "double",
    "bool",
    "halffloat",
}
