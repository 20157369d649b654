"""Hints about files of rows, for callers that read such files without the options of `predict --file`.

The readers in this package name these options in their hints. `compare`, `skew`, `warmup`, `export --rows` and the Python
API have a few of them or none: there, a hint says what to change in the file.
"""

from __future__ import annotations

import re
from collections.abc import Collection

# Option of `predict --file` -> the hint for a caller without it. {value} is the value of the option in the hint.
_CHANGE_OF_FILE = {
    "--column": "rename the column in the file",
    "--decimal": "write the numbers in the file with decimal points and without thousands separators",
    "--delimiter": "separate the cells in the file with commas",
    "--encoding": "iconv -f {value} -t UTF-8 converts the file",
    "--format": "give the file the suffix of its format, such as .csv or .jsonl",
    "--na": "write NaN in the cells of the file that have no number",
    "--no-header": "add a first line with the names of the columns to the file",
    "--on-error": "correct the row, or remove it from the file",
    "--signature": "change signature_name in the file",
}
_OPTION = re.compile(r"(?<![\w-])(--[a-z][a-z-]*)(?: (?P<value>[\w.-]+))?")
_ALTERNATIVES = re.compile("; |, or ")


def possible_hint(hint: str, options: Collection[str]) -> str:
    """The hint for a caller that has these options. Hints about other things than files of rows are not changed.

    >>> possible_hint("rename one of them, or add --no-header if the first line is a row", ["--format"])
    'rename one of them'
    >>> possible_hint("--encoding cp1252 reads the euro sign of Windows", [])
    'iconv -f cp1252 -t UTF-8 converts the file'
    """
    alternatives = _ALTERNATIVES.split(hint)
    possible = [text for text in alternatives if _missing_option(text, options) is None]
    if len(possible) == len(alternatives):
        return hint
    missing = _missing_option(hint, options)
    if possible or missing is None:
        return "; ".join(possible)
    return _CHANGE_OF_FILE[missing[1]].format(value=missing["value"])


def _missing_option(text: str, options: Collection[str]) -> re.Match[str] | None:
    """The first option of `predict --file` in a hint that the caller does not have."""
    if "tfsctl " in text:  # the options of another command
        return None
    found = _OPTION.finditer(text)
    return next((match for match in found if match[1] in _CHANGE_OF_FILE and match[1] not in options), None)
