"""One batch that moved the policy: KL and gradient leap together, or the gradient alone by two orders of magnitude."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

TIMES = {"kl_div": 5.0, "grad_norm": 20.0}
GRADIENT_ALONE = 100.0
MIN_PAST = 20
PAST = 50
BEYOND = 3.0
_REFRESH = 10
_CORE = PAST - _REFRESH


@dataclass(slots=True)
class UpdateSpike:
    """Reports `update-spike`, a warning: a leap of the gradient and the KL together, or a huge one of the gradient.

    Together means the gradient at 20 times its median and the KL at 5 times its own in the same row or the next; huge
    means 100 times. Single leaps of either are common in healthy runs (gradients of 10 to 40 times, KL of 5 to 20
    times), which is why one alone says nothing. The gradient must also be 3 times the greatest of the last 50 rows:
    heavy tails lift that. At most a warning, since the next rows may recover; not in the first 20 rows, nor in
    supervised and preference training, which log neither a reward nor a KL, where the gradient leaps when learning
    begins.
    """

    name: str = "update-spike"
    _past: dict[str, deque[float]] = field(default_factory=lambda: {metric: deque(maxlen=PAST) for metric in TIMES})
    _limits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIMES, math.inf))
    _due: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TIMES, 0))
    _leapt: dict[str, tuple[int, float]] = field(default_factory=dict)
    _row: int = 0
    _quiet: int = 0

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row."""
        self._row = row = self._row + 1
        times: dict[str, float] = {}
        for metric, past in self._past.items():
            value = metrics.get(metric)
            if value is None or value - value != 0.0:
                continue
            if row >= self._due[metric] and len(past) >= MIN_PAST:
                self._limits[metric] = TIMES[metric] * max(0.0, _least_median(past))
                self._due[metric] = row + _REFRESH
            if value >= self._limits[metric] and (leap := _leap(metric, value, past)):
                times[metric] = leap
            past.append(value)
        if not times or row < self._quiet:
            return []
        return self._judge(step, metrics, times)

    def absorb(self, block: Block) -> bool:
        """Take a block without a leap of the gradient, or of the KL in its last row."""
        values = {metric: block.metrics[metric] for metric in self._past if metric in block.metrics}
        known = {metric: np.concatenate((self._past[metric], new)) for metric, new in values.items()}
        if any(len(self._past[metric]) < PAST for metric in values):
            return False
        if "grad_norm" in values:
            cores = sliding_window_view(known["grad_norm"], _CORE)[::_REFRESH]
            place = _rank(PAST, _CORE)
            least = np.partition(cores, place, axis=1)[:, place].min()
            if least <= 0.0 or values["grad_norm"].max() >= TIMES["grad_norm"] * least:
                return False
        if "kl_div" in values:
            *past, latest = known["kl_div"][-PAST - 1 :].tolist()
            if self._leapt.get("grad_norm", (-9, 0.0))[0] >= self._row or _leap("kl_div", latest, past):
                return False
        self._row += len(block)
        for metric, new in values.items():
            self._past[metric].extend(new[-PAST:].tolist())
            self._due[metric] = self._row
        return True

    def _judge(self, step: int, metrics: Row, times: dict[str, float]) -> list[Anomaly]:
        for metric, leap in times.items():
            self._leapt[metric] = self._row, leap
        kl, gradient = (self._leapt.get(metric, (-9, 0.0)) for metric in ("kl_div", "grad_norm"))
        recent = self._row - 1
        both = kl[0] >= recent and gradient[0] >= recent
        huge = gradient[0] == self._row and gradient[1] >= GRADIENT_ALONE
        alone = huge and ("reward" in metrics or "kl_div" in metrics)
        if not both and not alone:
            return []
        self._quiet = self._row + MIN_PAST
        text = f"gradient x{gradient[1]:.3g}" + (f" and kl x{kl[1]:.3g}" if both else "")
        return [
            Anomaly(
                kind="update-spike",
                metric="grad_norm",
                severity=Severity.warning,
                onset=step,
                summary=f"{text} of their medians at step {step}: one update moved the policy",
                evidence={"gradient_times": gradient[1], "kl_times": kl[1] if both else 0.0},
                causes=(
                    "one unusual batch",
                    "a learning rate at the edge",
                    "a token that policy and sampler rate apart",
                ),
                remedy="look at this step's samples; lower max_grad_norm or learning_rate if it happens again",
            )
        ]


def _leap(metric: str, value: float, past: Collection[float]) -> float:
    """Return how many times the median of the past a value is if that is a leap, else 0."""
    level = median(past)
    if not 0.0 < TIMES[metric] * level <= value or (metric == "grad_norm" and value <= BEYOND * max(past)):
        return 0.0
    return value / level


def _least_median(past: deque[float]) -> float:
    """Return what the median of the past cannot fall below in the next 10 rows, whatever their values are."""
    core = sorted(list(past)[-_CORE:])
    return core[_rank(min(PAST, len(past) + _REFRESH), len(core))]


def _rank(count: int, core: int) -> int:
    """Return the rank, from 0, of a value in the core that the median of `count` values is not below.

    That is the lower of the middle ones if all values that are not in the core are low.
    """
    return (count - 1) // 2 - (count - core)


SPEC = DetectorSpec("update-spike", lambda _: UpdateSpike())
