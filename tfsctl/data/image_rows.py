"""Images: a row a file, each decoded to what the model's only input wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.types import TensorSpec
from tfsctl.data.blocks import Block, Unreadable
from tfsctl.errors import InvalidInput
from tfsctl.inputs.images import decode_image

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 16  # a block; decoded images are large


@dataclass(frozen=True, slots=True)
class ImageRows:
    """Image files in the order they are listed; results name the file."""

    name: str
    files: Sequence[Path]
    wanted: TensorSpec

    def blocks(self) -> Iterator[Block]:
        """All rows; a file that holds no image is an unreadable row."""
        with ThreadPoolExecutor(2) as decoders:  # Pillow works without the interpreter's lock
            for start in range(0, len(self.files), _AT_ONCE):
                files = self.files[start : start + _AT_ONCE]
                rows = list(decoders.map(self._read, files))
                label = ("file", [str(file) for file in files])
                part = (start + len(files)) / len(self.files)
                yield Block(len(files), ("",), partial(_same, rows), label=label, part=part)

    def _read(self, file: Path) -> np.ndarray | Unreadable:
        try:
            return decode_image(file.read_bytes(), self.wanted)
        except InvalidInput as error:
            return Unreadable(f"{file.name}: {error.message}")
        except OSError as error:
            return Unreadable(f"{file.name}: {error.strerror}")


def _same(rows: list[np.ndarray | Unreadable], _name: str) -> list[np.ndarray | Unreadable]:
    return rows
