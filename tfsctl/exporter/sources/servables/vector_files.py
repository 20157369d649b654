"""Reads tables of vectors with their keys from .npy, .npz and .csv files."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from tfsctl.errors import InvalidInput
from tfsctl.exporter.sources.export_options import KEYS_HINT
from tfsctl.exporter.sources.servables.text_lines import check_keys, read_lines

_VECTORS, _KEYS = "vectors", "keys"  # arrays of a .npz file


@dataclass(frozen=True, slots=True)
class KeyedVectors:
    """`vectors`: float32 [N, D], all finite. `keys`: N different texts. `notes` for the user."""

    vectors: np.ndarray
    keys: Sequence[str]
    notes: tuple[str, ...] = ()


def read_vectors(path: Path, keys_file: Path | None) -> KeyedVectors:
    """Read a file of vectors. Raises InvalidInput if it is damaged or the keys do not fit, NotFound for missing keys."""
    keys = None if keys_file is None else read_lines(keys_file)
    if path.suffix in (".npy", ".npz"):
        loaded = _load(path)  # numpy recognizes the format by the content, not by the suffix
        array, own = _from_archive(loaded, path) if isinstance(loaded, NpzFile) else (loaded, None)
        keys = own if keys is None else keys
    else:
        array, own = _read_csv(path, has_keys=keys is None)
        keys = own if keys is None else keys
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiu":
        raise InvalidInput(
            f"{path} holds an array of {array.dtype} {list(array.shape)}, but vectors must be a table of numbers: [keys, size]"
        )
    if keys is None:
        raise InvalidInput(f"{path} has no keys for its {len(array):,} vectors", hint=KEYS_HINT)
    if len(keys) != len(array):
        raise InvalidInput(f"there are {len(keys):,} keys, and {len(array):,} vectors in {path}")
    vectors = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise InvalidInput(f"the vector of {keys[row]!r} (row {row + 1} of {path}) has values that are not finite")
    note = (
        ()
        if array.dtype == np.float32
        else (f"the vectors of {path.name} were converted from {array.dtype} to float32",)
    )
    return KeyedVectors(vectors, keys, note)


def _load(path: Path) -> np.ndarray | NpzFile:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error


def _from_archive(archive: NpzFile, path: Path) -> tuple[np.ndarray, list[str] | None]:
    """The vectors of a .npz file, and its keys if it has some."""
    arrays = {name: archive[name] for name in archive.files}
    tables = [name for name, array in arrays.items() if array.ndim == 2]
    name = _VECTORS if _VECTORS in arrays else tables[0] if len(tables) == 1 else None
    if name is None:
        raise InvalidInput(
            f"{path} has the arrays {', '.join(arrays) or 'none'}, and none named {_VECTORS!r}",
            hint=f"np.savez({path.name!r}, {_VECTORS}=..., {_KEYS}=...)",
        )
    if _KEYS not in arrays:
        return arrays[name], None
    keys = [one.decode() if isinstance(one, bytes) else str(one) for one in arrays[_KEYS].tolist()]
    check_keys(keys, f"{path}: key")
    return arrays[name], keys


def _read_csv(path: Path, *, has_keys: bool) -> tuple[np.ndarray, list[str]]:
    """The vectors of a CSV file; with `has_keys`, its first column holds the keys. A header is skipped."""
    keys: list[str] = []
    rows: list[np.ndarray] = []
    start = 1 if has_keys else 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            for number, cells in enumerate(reader, 1):
                try:
                    row = np.array(cells[start:], np.float32)
                except ValueError as error:
                    if number == 1:
                        continue  # the header
                    raise InvalidInput(f"{path}: row {number}: {error}") from error
                if rows and len(row) != len(rows[0]):
                    raise InvalidInput(f"{path}: row {number} has {len(row)} numbers, and the first has {len(rows[0])}")
                rows.append(row)
                keys.append(cells[0] if has_keys and cells else "")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error
    if has_keys:
        check_keys(keys, f"{path}: row")
    return np.array(rows, np.float32), keys
