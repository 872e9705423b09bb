"""JSON as it occurs in logs: with bare NaN and infinities, in their many spellings."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_BARE = re.compile(rb'("(?:[^"\\]|\\.)*")|([-+]?)\b(nan|infinity|inf)\b', re.IGNORECASE)


def parse(text: bytes) -> Any:
    """Return what a JSON text stands for; `NaN`, `nan`, `Infinity`, `-inf` and the like are accepted.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass  # bare NaN, and numbers past 64 bits, which JSON allows
    try:
        return json.loads(_BARE.sub(_spelt, text).decode("utf-8", errors="replace"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _spelt(matched: re.Match[bytes]) -> bytes:
    if matched.group(1) is not None:
        return matched.group(1)
    sign = b"-" if matched.group(2) == b"-" else b""
    return b"NaN" if matched.group(3).lower() == b"nan" else sign + b"Infinity"
