"""What a reader counts while it reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Reading:
    """Counts of one file.

    Attributes:
        dropped: lines or entries that hold no record though they should.
    """

    dropped: int = 0
