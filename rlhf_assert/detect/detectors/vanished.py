"""A metric that is no longer logged while the others are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

ROWS = 20
"""Rows that a metric must have been there for, and must then be away for, at least."""
TIMES = 5
"""How many times its longest absence so far."""
DECISIVE = frozenset({"reward", "loss", "kl_div", "grad_norm", "entropy"})
"""Metrics without which a run is hardly judged."""


@dataclass(slots=True)
class _Presence:
    """Row numbers count from 0; `gone` is the row at which the metric was first absent, None while it is there."""

    born: int
    gone: int | None = None
    since: int = 0
    longest: int = 0
    judged: bool = False

    def due(self) -> float:
        """Return the row at which its absence is to be judged."""
        return math.inf if self.gone is None or self.judged else self.gone + max(ROWS, TIMES * self.longest)


@dataclass(slots=True)
class Vanished:
    """Reports `vanished`: a metric that was logged for 20 rows or more is away, while the others are logged as before.

    Away means for 20 rows, and for 5 times its longest absence before: some metrics come with every fourth row only.
    Two phases in one file lose many metrics at once, or gain others. So nothing is reported if a third of the metrics
    are away, or if a new metric has come since. A null counts as logged. It is a warning for the metrics that decide
    about a run (reward, loss, KL, gradient, entropy), since other detectors are silent without them, and else a note.
    A metric that was promised and never came fails the check of completeness.

    It judges the logger and uses no statistics, so it draws on no budget. Needs 4 metrics and 40 rows.
    """

    name: str = "vanished"
    _known: dict[str, _Presence] = field(default_factory=dict)
    _keys: frozenset[str] = frozenset()
    _row: int = 0
    _newest: int = 0
    _due: float = math.inf

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; empty rows are passed over."""
        if metrics.keys() != self._keys:
            if not metrics:
                return []
            self._change(step, metrics)
        self._row += 1
        return self._judge(step) if self._row >= self._due else []

    def absorb(self, block: Block) -> bool:
        """Take a block of the same metrics as before, none of whose absences is due."""
        if block.metrics.keys() != self._keys or self._row + len(block) >= self._due:
            return False
        self._row += len(block)
        return True

    def _change(self, step: int, metrics: Row) -> None:
        row, known = self._row, self._known
        for name in metrics.keys() - self._keys:
            presence = known.get(name)
            if presence is None:
                known[name] = _Presence(row)
                self._newest = row
            elif presence.gone is not None:
                presence.longest = max(presence.longest, row - presence.gone)
                presence.gone = None
        for name in self._keys - metrics.keys():
            known[name].gone, known[name].since = row, step
        self._keys = frozenset(metrics)
        self._due = min(presence.due() for presence in known.values())

    def _judge(self, step: int) -> list[Anomaly]:
        anomalies = []
        known, row = self._known, self._row
        away = sum(one.gone is not None and row - one.gone >= ROWS for one in known.values())
        for name, one in known.items():
            if one.gone is None or one.due() > row:
                continue
            one.judged = True
            if one.gone - one.born >= ROWS and self._newest < one.gone and 3 * away < len(known):
                anomalies.append(_anomaly(name, one.since, step, row - one.gone))
        self._due = min(presence.due() for presence in known.values())
        return anomalies


def _anomaly(metric: str, onset: int, step: int, rows: int) -> Anomaly:
    return Anomaly(
        kind="vanished",
        metric=metric,
        severity=Severity.warning if metric in DECISIVE else Severity.info,
        onset=onset,
        summary=f"no longer logged since step {onset}, while other metrics are, to step {step}",
        evidence={"rows": rows},
        causes=(
            "the trainer drops a metric that has no value (no sample counted, all of them NaN)",
            "a branch of the training code is no longer reached",
            "the logger failed for this metric",
        ),
        remedy="look why this step logs fewer metrics than the one before; what is not logged is not judged",
    )


SPEC = DetectorSpec("vanished", lambda _: Vanished())
