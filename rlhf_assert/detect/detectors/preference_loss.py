"""Preference training (DPO and its kin) that over-optimises or diverges."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.detectors.step_one import LN2
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

SHORT, LONG = 20, 60
SOLVED = 0.01 * LN2
ABOVE = 1.1 * LN2
ERRORS = 4.0
FAR_ABOVE = 1.25 * LN2


@dataclass(slots=True)
class PreferenceLoss:
    """Judges a logistic preference loss, recognised by its first value: ln 2 to within .01, in a log without rewards.

    - `preference-saturated`: the median of 20 rows is under a hundredth of ln 2. Every pair is told apart with
      certainty, so what is still learnt is the pairs by heart: critical; for a reward model, which may well be given
      easy pairs, a warning.
    - `preference-diverged`: the mean of 60 rows is above 1.1 ln 2, and above ln 2 by 4 standard errors (corrected for
      autocorrelation). A policy that knows nothing has ln 2: this one is confidently wrong. A warning; critical from
      1.25 ln 2 on, or if it still holds 20 rows later.
    - `margin-without-chosen`: the margin grew while the chosen reward fell below 0 by more than the margin's half, for
      20 rows: both texts become unlikely. Common in healthy runs, so a note.

    Sources: Rafailov et al., "Direct Preference Optimization" (2023); Pal et al., "Smaug" (2024) for falling chosen
    rewards. False alarms: its part of the budget; the first rule needs a loss that no noise around ln 2 reaches.
    """

    algorithm: str = ""
    budget: Budget = field(default_factory=Budget)
    name: str = "preference-loss"
    _judged: bool | None = None
    _losses: deque[float] = field(default_factory=lambda: deque(maxlen=LONG))
    _steps: deque[int] = field(default_factory=lambda: deque(maxlen=LONG))
    _reported: set[str] = field(default_factory=set)
    _falling: int = 0
    _divergence: Severity | None = None
    _onset: int = 0
    _since: int = 0
    _row: int = 0
    _high_rows: int = 0

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._judged is False

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite loss are passed over."""
        if self._judged is False:
            return []
        loss = metrics.get("loss")
        if loss is None or loss - loss != 0.0:
            return []
        if self._judged is None:
            self._judged = metrics.get("reward") is None and abs(loss - LN2) <= 0.01
            if not self._judged:
                return []
            self.budget.claim(self.name)
        self._row += 1
        self._losses.append(loss)
        self._steps.append(step)
        anomalies = self._margins(step, metrics)
        if loss < SOLVED:
            anomalies += self._saturated(metrics)
        elif loss > LN2:
            anomalies += self._diverged(step)
        return anomalies

    def absorb(self, block: Block) -> bool:
        """Take a block in which no window of losses passes a limit, and no streak of margins is told."""
        loss, chosen, margin = map(block.metrics.get, ("loss", "chosen_reward", "reward_margin"))
        if loss is None:
            return True
        known = np.concatenate((self._losses, loss))
        if self._judged is None or len(known) < LONG:
            return False
        if "preference-saturated" not in self._reported:
            solved = sliding_window_view(known < SOLVED, SHORT).sum(axis=1)
            if 2 * solved.max() >= SHORT:
                return False
        if (
            self._divergence is not Severity.critical
            and sliding_window_view(known, LONG).mean(axis=1).max() >= 0.999 * ABOVE
        ):
            return False
        longest, falling = 0, 0
        if chosen is not None and margin is not None:
            longest, falling = streaks((margin > 0.0) & (chosen < -0.5 * margin), self._falling)
        if longest >= SHORT and "margin-without-chosen" not in self._reported:
            return False
        self._falling = falling
        self._row += len(loss)
        self._high_rows += int((loss > LN2).sum())
        self._losses.extend(loss[-LONG:].tolist())
        self._steps.extend(block.steps[-LONG:].tolist())
        return True

    def _saturated(self, metrics: Row) -> list[Anomaly]:
        recent = list(self._losses)[-SHORT:]
        if "preference-saturated" in self._reported or len(recent) < SHORT or median(recent) >= SOLVED:
            return []
        self._reported.add("preference-saturated")
        scorer = self.algorithm == "reward" or ("reward_margin" in metrics and "chosen_reward" not in metrics)
        onset = next(step for step, loss in zip(list(self._steps)[-SHORT:], recent, strict=True) if loss < SOLVED)
        return [
            Anomaly(
                kind="preference-saturated",
                metric="loss",
                severity=Severity.warning if scorer else Severity.critical,
                onset=onset,
                summary=f"under a hundredth of ln 2 since step {onset}: {median(recent):.2g}, "
                "the pairs are known by heart",
                evidence={"value": median(recent), "limit": SOLVED, "rows": SHORT},
                causes=("too many epochs, or too high a learning rate", "the pairs differ in something trivial"),
                remedy="stop before this step; lower learning_rate, raise beta, or train on more pairs",
            )
        ]

    def _diverged(self, step: int) -> list[Anomaly]:
        self._high_rows += 1  # rows above ln 2, not rows: a test at each would be one too many
        if self._high_rows % 2 or len(self._losses) < LONG or self._divergence is Severity.critical:
            return []
        losses = list(self._losses)
        mean = fmean(losses)
        if mean <= ABOVE or mean - LN2 <= ERRORS * _error(losses, mean):
            return []
        if self._divergence is None:
            self._onset, self._since = self._steps[0], self._row
        elif mean <= FAR_ABOVE and self._row - self._since < SHORT:
            return []
        lost = mean > FAR_ABOVE or self._divergence is not None
        self._divergence = Severity.critical if lost else Severity.warning
        return [
            Anomaly(
                kind="preference-diverged",
                metric="loss",
                severity=self._divergence,
                onset=self._onset,
                summary=f"{mean:.3g} over {LONG} rows to step {step}, above the ln 2 of a policy that knows nothing",
                evidence={"value": mean, "limit": ABOVE, "rows": LONG},
                causes=("the learning rate is too high", "chosen and rejected are swapped in part of the data"),
                remedy="lower learning_rate; check a few pairs for swapped labels",
            )
        ]

    def _margins(self, step: int, metrics: Row) -> list[Anomaly]:
        chosen, margin = metrics.get("chosen_reward"), metrics.get("reward_margin")
        if chosen is None or margin is None or not (margin > 0.0 and chosen < -0.5 * margin):
            self._falling = 0
            return []
        self._falling += 1
        if self._falling != SHORT or "margin-without-chosen" in self._reported:
            return []
        self._reported.add("margin-without-chosen")
        return [
            Anomaly(
                kind="margin-without-chosen",
                metric="chosen_reward",
                severity=Severity.info,
                onset=self._steps[-min(SHORT, len(self._steps))],
                summary=f"{chosen:.3g} at step {step} while the margin is {margin:.3g}: the chosen texts lose "
                "likelihood too",
                evidence={"chosen_reward": chosen, "margin": margin, "rows": SHORT},
                causes=("chosen and rejected share most of their tokens", "beta is too small"),
                remedy="raise beta, or add a likelihood term on the chosen text (rpo_alpha)",
            )
        ]


def _error(values: list[float], mean: float) -> float:
    """Return the standard error of the mean of autocorrelated values, by their lag-1 correlation."""
    off = [value - mean for value in values]
    total = sum(value * value for value in off)
    if total == 0.0:
        return 0.0
    correlation = sum(before * after for before, after in pairwise(off)) / total
    correlation = min(max(correlation, 0.0), 0.95)
    count = len(values)
    return math.sqrt(total / (count - 1) / count * (1 + correlation) / (1 - correlation))


SPEC = DetectorSpec("preference-loss", lambda context: PreferenceLoss(context.algorithm, context.budget))
