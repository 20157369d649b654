"""The digits that RapidJSON's writer prints for a double: Grisu2, which is usually but not always the shortest text.

TensorFlow Serving quotes values in its errors with them. `repr` gives other digits for some: the recorded answers
`lit … <- 2^64` quote 2**64 as 18446744073709553000.0, and `repr` gives 18446744073709552000.0.
Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers", PLDI 2010. A number is
`f * 2**e` with a 64-bit f; powers of ten are taken eight apart, rounded to 64 bits.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache

_HIDDEN_BIT = 1 << 52
_FIRST_POWER, _POWER_STEP = -348, 8
_NUDGED_PLACES = 9  # RapidJSON 1.1.0, which TensorFlow Serving uses, leaves longer fractions as they are generated


def digits_of(value: float) -> tuple[str, int]:
    """The digits of a positive finite double and the power of ten of the last one."""
    f, e = _parts(value)
    lower, upper = _boundaries(f, e)
    power, (power_f, power_e) = _cached_power(upper[1])
    normalized_f, _ = _normalized(f, e)
    exact = _times(normalized_f, power_f)
    top = _times(upper[0], power_f) - 1
    bottom = _times(lower[0], power_f) + 1
    one_shift = -(upper[1] + power_e + 64)
    digits, exponent = _generate(top, one_shift, top - bottom, top - exact)
    return digits, exponent - power


def _parts(value: float) -> tuple[int, int]:
    """The f and e of a positive double."""
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    exponent, fraction = bits >> 52 & 0x7FF, bits & (_HIDDEN_BIT - 1)
    return (fraction | _HIDDEN_BIT, exponent - 1075) if exponent else (fraction, -1074)


def _normalized(f: int, e: int) -> tuple[int, int]:
    """The same number with all 64 bits of f in use."""
    shift = 64 - f.bit_length()
    return f << shift, e - shift


def _boundaries(f: int, e: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Half-way to the neighbouring doubles, with one exponent; below a power of two the neighbour is nearer."""
    upper_f, upper_e = _normalized((f << 1) + 1, e - 1)
    lower_f, lower_e = ((f << 2) - 1, e - 2) if f == _HIDDEN_BIT else ((f << 1) - 1, e - 1)
    return (lower_f << (lower_e - upper_e), upper_e), (upper_f, upper_e)


def _times(f: int, power_f: int) -> int:
    """The upper 64 bits of the product of two 64-bit numbers, rounded."""
    return f * power_f + (1 << 63) >> 64


@lru_cache(maxsize=None)
def _cached_power(e: int) -> tuple[int, tuple[int, int]]:
    """The power of ten that brings exponent `e` near 2**-61: its exponent, and its 64-bit form."""
    index = (math.ceil((-61 - e) * 0.30102999566398114 + 347) >> 3) + 1
    power = _FIRST_POWER + index * _POWER_STEP
    numerator, denominator = (10**power, 1) if power >= 0 else (1, 10**-power)
    shift = numerator.bit_length() - denominator.bit_length() - 64
    for power_e in (shift, shift + 1):
        scaled_n, scaled_d = (
            (numerator, denominator << power_e) if power_e >= 0 else (numerator << -power_e, denominator)
        )
        f = (2 * scaled_n + scaled_d) // (2 * scaled_d)
        if f.bit_length() == 64:
            break
    return power, (f, power_e)


def _generate(top: int, shift: int, delta: int, distance: int) -> tuple[str, int]:
    """Digits of `top`, as few as stay within `delta` below it; then nudged towards the value at `distance`."""
    one = 1 << shift
    whole, rest = top >> shift, top & (one - 1)
    kappa = len(str(whole))
    digits: list[int] = []
    while kappa > 0:
        kappa -= 1
        digit, whole = divmod(whole, 10**kappa)
        if digit or digits:
            digits.append(digit)
        left = (whole << shift) + rest
        if left <= delta:
            return _rounded(digits, delta, left, 10**kappa << shift, distance), kappa
    while True:
        rest, delta, kappa = rest * 10, delta * 10, kappa - 1
        digit, rest = rest >> shift, rest & (one - 1)
        if digit or digits:
            digits.append(digit)
        if rest < delta:
            return _rounded(digits, delta, rest, one, distance * 10**-kappa if -kappa < _NUDGED_PLACES else 0), kappa


def _rounded(digits: list[int], delta: int, rest: int, unit: int, distance: int) -> str:
    """The digits as text, the last one lowered while that brings them nearer to the value at `distance`."""
    while (
        rest < distance
        and delta - rest >= unit
        and (rest + unit < distance or distance - rest > rest + unit - distance)
    ):
        digits[-1] -= 1
        rest += unit
    return "".join(map(str, digits))
