"""Checks of arguments that several functions of the Python API take."""

from __future__ import annotations

from tfsctl.errors import InvalidInput


def check_sample(sample: float) -> None:
    """Raise InvalidInput unless `sample` is a share of the requests: above 0, and at most 1."""
    if not 0 < sample <= 1:
        raise InvalidInput(f"sample={sample:g} is not a share: it is above 0, and at most 1", hint="sample=0.1")
