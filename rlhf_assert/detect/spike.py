"""One batch that moved the policy: KL and gradient leap together, or the gradient alone by two orders of magnitude."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity

Row = Mapping[str, float | None]

KL_TIMES, GRADIENT_TIMES, GRADIENT_ALONE = 5.0, 20.0, 100.0
MIN_PAST = 20
PAST = 50
BEYOND = 3.0
_REFRESH = 10


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
    _past: dict[str, deque[float]] = field(
        default_factory=lambda: {"kl_div": deque(maxlen=PAST), "grad_norm": deque(maxlen=PAST)}
    )
    _limits: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("kl_div", "grad_norm"), math.inf))
    _due: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("kl_div", "grad_norm"), 0))
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
                level = median(past)
                self._limits[metric] = KL_TIMES * level if level > 0.0 else math.inf
                self._due[metric] = row + _REFRESH
            if value > self._limits[metric]:
                level = median(past)
                if level > 0.0 and (metric == "kl_div" or value > BEYOND * max(past)):
                    times[metric] = value / level
            past.append(value)
        if not times or row < self._quiet:
            return []
        return self._judge(step, metrics, times)

    def _judge(self, step: int, metrics: Row, times: dict[str, float]) -> list[Anomaly]:
        if times.get("kl_div", 0.0) >= KL_TIMES:
            self._leapt["kl_div"] = self._row, times["kl_div"]
        if times.get("grad_norm", 0.0) >= GRADIENT_TIMES:
            self._leapt["grad_norm"] = self._row, times["grad_norm"]
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
