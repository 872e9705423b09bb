"""What a logged value stands for: a number, null, or neither."""

from __future__ import annotations

import re
from typing import Any, Final

LONGEST_NUMBER = 64
"""Characters of text that may still be a number."""

NO_NUMBER: Final = object()
"""What `number_of` returns for text, lists and whatever else is no metric."""

_WRAPPED = re.compile(r"^(?:np|numpy|torch|tensor)[\w.]*\(\s*([^,()\s]+).*\)$")
_NULLS = frozenset({"none", "null"})


def number_of(value: Any) -> float | object | None:
    """Return a logged value as a float, None for null, or `NO_NUMBER`.

    Numbers come as numbers, as text (`"0"`, `"nan"`), as `np.float64(0.5)` or `tensor(0.5)` in console output, and as
    booleans; an integer past the range of floats is an infinity.
    """
    if isinstance(value, float) or value is None:
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return float("inf") if value > 0 else float("-inf")
    if not isinstance(value, str) or len(value) > LONGEST_NUMBER:
        return NO_NUMBER
    text = value.strip()
    wrapped = _WRAPPED.match(text)
    if wrapped:
        text = wrapped.group(1)
    if text.lower() in _NULLS:
        return None
    if "_" in text:  # Python's own spelling of numbers, no logger's
        return NO_NUMBER
    try:
        return float(text)
    except ValueError:
        return NO_NUMBER
