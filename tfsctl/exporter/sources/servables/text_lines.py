"""Reads text files with one key per line: the keys of embeddings, and vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfsctl.errors import InvalidInput, NotFound


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without line ends. Raises NotFound, and InvalidInput for empty or repeated lines."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text (byte {error.start})") from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    check_keys(lines, f"{path}: line")
    return lines


def check_keys(keys: Sequence[str], place: str) -> None:
    """Raise InvalidInput unless all keys are different texts of one line. `place` names one: `keys.txt: line`."""
    first: dict[str, int] = {}
    for number, key in enumerate(keys, 1):
        if not key:
            raise InvalidInput(
                f"{place} {number} is empty", hint="each line must be a key: remove the line, or fill it in"
            )
        if "\n" in key:
            raise InvalidInput(f"{place} {number} contains a line break: {key!r}")
        if key in first:
            raise InvalidInput(f"{place} {number} repeats {place.rpartition(' ')[2]} {first[key]}: {key}")
        first[key] = number
    if not keys:
        raise InvalidInput(f"{place.partition(':')[0]} has no lines")
