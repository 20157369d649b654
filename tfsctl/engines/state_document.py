"""JSON documents of the state directory as dataclasses.

A document may be damaged, or be written by another version of tfsctl or by a person, so the type of each value is
checked when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import dacite

_CONFIG = dacite.Config(strict=True, cast=[tuple])  # JSON has lists only
_T = TypeVar("_T")


def from_document(cls: type[_T], document: Mapping[str, Any]) -> _T:
    """Read what `dataclasses.asdict` made of a dataclass. A field without a value takes its default.

    Raises ValueError if the document has another field, or if a value has the wrong type.
    """
    try:
        return dacite.from_dict(cls, document, _CONFIG)
    except (dacite.DaciteError, TypeError, AttributeError) as error:
        raise ValueError(f"not a {cls.__name__}: {error}") from error
