"""Reads image files: one row per file, decoded to the shape and dtype of the model's only input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.core.types import TensorSpec
from tfsctl.data.blocks import Block, UnreadableValue, single_column
from tfsctl.errors import InvalidInput
from tfsctl.inputs.images import decode_image

if TYPE_CHECKING:
    import numpy as np

_BLOCK_IMAGES = 16  # decoded images are large


@dataclass(frozen=True, slots=True)
class ImageRows:
    """The images of a list of files, in that order. Results get a column `file` with the names."""

    name: str
    files: Sequence[Path]
    wanted: TensorSpec

    def blocks(self) -> Iterator[Block]:
        """All rows. A file that is not an image is an unreadable row."""
        with ThreadPoolExecutor(2) as decoders:  # Pillow releases the GIL while it decodes
            for start in range(0, len(self.files), _BLOCK_IMAGES):
                files = self.files[start : start + _BLOCK_IMAGES]
                rows = list(decoders.map(self._read, files))
                label = ("file", [str(file) for file in files])
                part = (start + len(files)) / len(self.files)
                yield Block(len(files), ("",), single_column(rows), label=label, fraction_read=part)

    def _read(self, file: Path) -> np.ndarray | UnreadableValue:
        try:
            return decode_image(file.read_bytes(), self.wanted)
        except InvalidInput as error:
            return UnreadableValue(f"{file.name}: {error.message}")
        except OSError as error:
            return UnreadableValue(f"{file.name}: {error.strerror}")
