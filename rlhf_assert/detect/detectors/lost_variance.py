"""Group variance that runs out: too few groups of completions are left from which anything can be learnt."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.reward_variance import no_variance, rows_without_variance
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

LIMITS = {20: 19, 30: 26, 50: 42}
"""Rows in the window -> rows without variance that are too many: under .0016 each for a share of .6 (binomial). The
worst 20 rows of healthy public runs have 16."""
SPENT = 47
"""Of 50 rows: what the other 3 teach is not worth the compute."""


@dataclass(slots=True)
class LostVariance:
    """Reports `saturated`: among rows that had variance before, those without it have become nearly all.

    A warning when a window of 20, 30 or 50 rows passes its binomial limit; critical at 47 of 50 rows, after which the
    run computes and learns next to nothing, solved or not. `constant` reports a variance that was never there, or is
    gone without exception.

    Source: the binomial tail; about half of the groups have no variance at num_generations=2, hence the share of .6.
    """

    name: str = "lost-variance"
    _dead: deque[bool] = field(default_factory=lambda: deque(maxlen=50))
    _steps: deque[int] = field(default_factory=lambda: deque(maxlen=50))
    _alive: int = 0
    _sum: int = 0
    _reported: Severity = Severity.info

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._reported is Severity.critical

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows that log no spread of the reward are passed over."""
        dead = no_variance(metrics)
        if dead is None:
            return []
        if not dead:
            self._alive += 1
        full = len(self._dead) == 50
        self._sum += dead - (self._dead[0] if full else False)
        self._dead.append(dead)
        self._steps.append(step)
        if not dead or self._sum < 19 or self._alive < 3 or self._reported is Severity.critical:
            return []
        rows = list(self._dead)
        if len(rows) == 50 and self._sum >= SPENT:
            self._reported = Severity.critical
            return [self._anomaly(50, self._sum, Severity.critical)]
        if self._reported is Severity.warning:
            return []
        for window, limit in LIMITS.items():
            count = sum(rows[-window:])
            if len(rows) >= window and count >= limit:
                self._reported = Severity.warning
                return [self._anomaly(window, count, Severity.warning)]
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no window passes a limit."""
        dead = rows_without_variance(block)
        if dead is None:
            return True
        counts = np.cumsum([0, *self._dead, *dead.tolist()])
        limits = LIMITS if self._reported is Severity.info else {50: SPENT}
        if any((counts[window:] - counts[:-window]).max(initial=0) >= limit for window, limit in limits.items()):
            return False
        self._dead.extend(dead[-50:].tolist())
        self._steps.extend(block.steps[-50:].tolist())
        self._sum = sum(self._dead)
        self._alive += len(dead) - int(dead.sum())
        return True

    def _anomaly(self, window: int, count: int, severity: Severity) -> Anomaly:
        onset = self._steps[-window]
        return Anomaly(
            kind="saturated",
            metric="reward_std",
            severity=severity,
            onset=onset,
            summary=f"no group has reward variance in {count} of {window} rows from step {onset} on: "
            "hardly any gradient is left",
            evidence={"rows": window, "without_variance": count},
            causes=("the task is solved: stop here", "the policy has collapsed to one answer, or the reward is hacked"),
            remedy="read completions from this step: if good, the training is done; if not, harder prompts, more "
            "completions per group, a higher temperature",
        )


SPEC = DetectorSpec("lost-variance", lambda _: LostVariance())
