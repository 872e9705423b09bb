"""How numbers are written wherever a person reads them: about three significant figures, the same everywhere."""

from __future__ import annotations

import math


def number(value: float) -> str:
    """Return a measured value with about three significant figures.

    >>> [number(value) for value in (8.234, 0.0214, 0.56, 18.63, 112.4, 1_230_000.0, 0.00001, 0.0, float("nan"))]
    ['8.23', '0.021', '0.56', '18.6', '112', '1.2e+06', '1.0e-05', '0', 'nan']
    """
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0.0:
        return "0"
    if size >= 999_999.5 or size < 0.0005:
        return f"{value:.1e}"
    if size >= 99.95:
        return f"{value:.0f}"
    if size >= 9.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2f}" if size >= 0.0995 else f"{value:.3f}"


def share(value: float) -> str:
    """Return a share as a percentage.

    >>> [share(value) for value in (0.004, 0.41, 0.965, 1.0, 0.0)]
    ['0.4 %', '41 %', '96 %', '100 %', '0 %']
    """
    if not math.isfinite(value):
        return number(value)
    percent = 100.0 * value
    return f"{percent:.1f} %" if 0.0 < abs(percent) < 0.95 else f"{percent:.0f} %"


def setting(value: object) -> str:
    """Return a hyper-parameter as one would type it: `0.04`, `1e-05`, `1.0`, `True`."""
    return value if isinstance(value, str) else repr(float(f"{value:.4g}") if isinstance(value, float) else value)


def count(number_of: int, thing: str) -> str:
    """Return `1 step`, `3 steps`."""
    return f"{number_of} {thing}" if number_of == 1 else f"{number_of} {thing}s"
