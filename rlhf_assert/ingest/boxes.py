"""Boxes that stable-baselines3 prints on the console: `| rollout/ | |`, and its keys indented below."""

from __future__ import annotations

_SHORTEST_RULE = 9
_INDENT = "    "


class Boxes:
    """Gathers the boxes of a log, a row each, its keys as `rollout/ep_rew_mean`.

    A box is closed by the second of its two rules of dashes; one that the end of the log cuts off, or that anything
    else interrupts, is no row. What begins in the middle of a box loses that box only.

    Source: `HumanOutputFormat` of stable_baselines3/common/logger.py, whose keys end after 36 characters.
    """

    def __init__(self) -> None:
        self._box: dict[str, str] | None = None
        self._section = ""

    def take(self, line: bytes) -> dict[str, str] | None:
        """Take one line; return the row that it completes."""
        if line.startswith(b"|"):
            if self._box is not None:
                self._add(self._box, line.decode("utf-8", errors="replace"))
            return None
        done = self._box or None
        rule = line.startswith(b"-") and len(line.strip()) >= _SHORTEST_RULE and not line.strip().strip(b"-")
        self._box, self._section = (None if done or not rule else {}), ""
        return done if rule else None

    def _add(self, box: dict[str, str], line: str) -> None:
        _, key, *rest = line.split("|")
        if len(rest) != 2 or rest[1].strip():
            self._box = None
        elif key.strip().endswith("/") and not rest[0].strip():
            self._section = key.strip()
        else:
            box[(self._section if key.startswith(_INDENT) else "") + key.strip()] = rest[0].strip()
