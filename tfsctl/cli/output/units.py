"""Ages and sizes as short texts with a unit."""

from __future__ import annotations

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def age_text(seconds: float) -> str:
    """An age in its largest unit: `3d`, `5h`."""
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), ("s", 1))
    return f"{int(seconds // size)}{unit}"


def size_text(count: int) -> str:
    """A number of bytes in decimal units: `1.2 MB`."""
    unit, size = next(((unit, size) for unit, size in _SIZES if count >= size), ("B", 1))
    return f"{count} B" if unit == "B" else f"{count / size:.1f} {unit}"
