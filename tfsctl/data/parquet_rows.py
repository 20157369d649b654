"""Parquet files, where pyarrow is installed (`pip install 'tfsctl[parquet]'`). The only user of pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.data.blocks import MOST_ROWS, Block, opened
from tfsctl.errors import InvalidInput, TfsctlError

if TYPE_CHECKING:
    import pyarrow as pa

    from tfsctl.data.blocks import Column


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """The rows of a file, by column."""

    name: str
    path: Path | str

    def blocks(self) -> Iterator[Block]:
        """All rows, a batch of Arrow at a time. Raises InvalidInput for another file, TfsctlError without pyarrow."""
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise TfsctlError(
                "Parquet files are read by pyarrow, which is missing", hint="pip install pyarrow"
            ) from error
        done = 0
        with opened(self.path) as (raw, _progress):
            try:
                file = parquet.ParquetFile(raw)
                total = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=MOST_ROWS):
                    done += batch.num_rows
                    names = tuple(batch.schema.names)
                    yield Block(batch.num_rows, names, partial(_column, batch), part=done / max(total, 1))
            except (pa.ArrowInvalid, OSError) as error:
                words = " ".join("".join(filter(str.isprintable, line)) for line in str(error).split("\n")).strip()
                raise InvalidInput(f"{self.name} is not a Parquet file that can be read: {words}") from error


def _column(batch: pa.RecordBatch, name: str) -> Column:
    """Numbers as an array; text, lists and columns with nulls as Python values."""
    column = batch.column(name)
    if str(column.type).startswith("decimal"):
        column = column.cast("float64")
    is_plain = column.null_count == 0 and str(column.type) in _PLAIN
    return column.to_numpy(zero_copy_only=False) if is_plain else column.to_pylist()


_PLAIN = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)} | {
    "float",
    "double",
    "bool",
    "halffloat",
}
