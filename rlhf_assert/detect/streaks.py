"""Conditions that must hold for some rows in succession, judged for many rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def streaks(holds: NDArray[np.bool_], before: int = 0) -> tuple[int, int]:
    """Return the length of the longest streak of rows in which a condition holds, and of that which ends the rows.

    Args:
        holds: shape (n,), whether the condition holds in each row; n is 1 or more.
        before: length of the streak that ended the rows before.

    >>> streaks(np.array([True, False, True, True, False, True]), before=4)
    (5, 1)
    """
    breaks = np.flatnonzero(~holds)
    if not len(breaks):
        return before + len(holds), before + len(holds)
    last = len(holds) - 1 - int(breaks[-1])
    return max(before + int(breaks[0]), last, int(np.diff(breaks).max(initial=1)) - 1), last
