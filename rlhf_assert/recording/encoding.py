"""How values become JSON, and numbers come back: NaN and infinities are the strings "nan", "inf" and "-inf"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

_PLAIN = frozenset({str, int, bool, type(None)})


def as_number(value: Any) -> float | str | None:
    """Return a logged value as a float, None as None, and text that is no number as text.

    Frameworks log numbers as int, bool, text, numpy scalars and one-element tensors.
    """
    if value is None or type(value) is float:
        return value
    try:
        item = getattr(value, "item", None)
        return float(value if item is None else item())
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return str(value)


def all_finite(row: Mapping[str, float | str | None]) -> bool:
    """Return whether every value is a finite float; now and then False for a row that is (its sum may overflow)."""
    try:
        return math.isfinite(sum(row.values()))  # type: ignore[arg-type]  # None and text raise TypeError
    except TypeError:
        return False


def encode_number(value: float | str | None) -> float | str | None:
    """Return the JSON form of a number: NaN and infinities as "nan", "inf" and "-inf"."""
    if type(value) is not float or value - value == 0.0:
        return value
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def decode_number(value: Any) -> float | None:
    """Return the number of its JSON form (see `encode_number`); None if it stands for none."""
    if isinstance(value, float):
        return value
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def is_plain(record: Mapping[str, Any]) -> bool:
    """Return whether `encode` would leave a record as it is: it holds finite numbers and text, and nothing within."""
    for value in record.values():
        kind = type(value)
        if (kind is not float or value - value != 0.0) and kind not in _PLAIN:
            return False
    return True


def encode(value: Any) -> Any:
    """Return `value` with every non-finite number in it in its JSON form."""
    if isinstance(value, float):
        return encode_number(float(value))
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, str | int | bool) or value is None:
        return value
    return encode(as_number(value))


def dump_line(record: Mapping[str, Any]) -> bytes:
    """Return a record as one line of JSON."""
    try:
        return orjson.dumps(record) + b"\n"
    except TypeError:  # keys that are no text, half a surrogate pair, an integer past 64 bits
        return orjson.dumps(plain(record)) + b"\n"


def plain(value: Any) -> Any:
    """Return `value` in a form that orjson takes: keys as text, whole characters, integers of at most 64 bits."""
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value
