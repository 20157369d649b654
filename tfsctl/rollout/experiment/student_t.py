"""Student's t distribution, for tests and intervals of means."""

from __future__ import annotations

import math

_ITERATIONS = 300
_TINY = 1e-300


def t_tail(t: float, freedom: float) -> float:
    """The probability that Student's t with these degrees of freedom exceeds `t` (t >= 0)."""
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile(probability: float, freedom: float) -> float:
    """The value of Student's t that is not exceeded with this probability (0.5 to 1)."""
    low, high = 0.0, 1.0
    while t_tail(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    # Newton's method: the tail is convex, so the values below the quantile come nearer from below.
    value = low
    for _ in range(100):
        change = (t_tail(value, freedom) - (1 - probability)) / _density(value, freedom)
        value += change
        if abs(change) <= 1e-10 * value:
            break
    return value


def _density(t: float, freedom: float) -> float:
    """The density of Student's t with these degrees of freedom."""
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    return math.exp(scale - (freedom + 1) / 2 * math.log1p(t * t / freedom))


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function, by its continued fraction (DLMF 8.17.22)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(_ITERATIONS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + term * d)
        c = _away_from_zero(1 + term / c)
        change = c * d
        fraction *= change
        if abs(change - 1) < 1e-14:
            break
    return front * (fraction - 1)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
