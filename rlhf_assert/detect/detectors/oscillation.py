"""Swings that grow: a metric that goes up and down periodically, further each time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block
from rlhf_assert.recording.series import FloatArray

Row = Mapping[str, float | None]

WINDOW = 48
EVERY = 24
GREW = 2.0
"""Standard deviation of the window over that of the 48 rows before it, straight lines taken out of both."""
PERIODS = 3
"""Fewest periods in the window: what is slower is a curve, and a random walk."""
SHARE = 0.6
"""Share of the window's variance that two neighbouring frequencies must explain; any two of the 24 have a twelfth of
white noise on average."""
SWING = 0.5
ROUNDING = 1e-5
"""Share of the largest value below which a swing is one of float32 rounding or of the printed digits."""
_WATCHED = ("reward", "kl_div", "entropy", "loss")


@dataclass(slots=True)
class Oscillation:
    """Reports `oscillation`: over 48 rows, a periodic swing of twice the size of what the metric did before.

    By the periodogram of the window less its straight line: two neighbouring frequencies of 3 periods or more hold .6
    of its variance (Fisher's test of the greatest ordinate, whose level for white noise this passes by far), and the
    standard deviation is twice that of the 48 rows before. One spike has a flat periodogram, a drift or a learning
    curve less than 3 periods, a schedule is not watched, and a cycle that was there from the start (batches in a fixed
    order) does not grow. A note; a warning where the swing from crest to trough is above half of the level over
    its floor (0, or the least value of the past where that is negative): each trough loses what was learnt.

    Watched are reward, KL, entropy, and the loss where no reward is logged. It has no threshold that a rate could set
    and draws on no budget: of 6,000 simulated runs of 1,000 rows it is seen in 2 for AR(.7) noise, and in none for
    independent, t3, lognormal and trending noise. Needs 96 rows.

    Sources: R. A. Fisher, "Tests of significance in harmonic analysis" (1929); D. Ziegler et al., "Fine-tuning language
    models from human preferences" (2019), 2.2, for the KL controller that overshoots.
    """

    name: str = "oscillation"
    _past: dict[str, deque[float]] = field(
        default_factory=lambda: {metric: deque(maxlen=2 * WINDOW) for metric in _WATCHED}
    )
    _steps: dict[str, deque[int]] = field(default_factory=lambda: {metric: deque(maxlen=WINDOW) for metric in _WATCHED})
    _waiting: list[tuple[int, Row]] = field(default_factory=list)
    _reported: dict[str, Anomaly] = field(default_factory=dict)

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; 24 at a time are looked at. Values that are not finite are passed over."""
        self._waiting.append((step, metrics))
        if len(self._waiting) < EVERY:
            return []
        rows, self._waiting = self._waiting, []
        rewarded = any("reward" in row for _, row in rows)
        for metric, past in self._past.items():
            known = [(at, value) for at, row in rows if (value := row.get(metric)) is not None and value - value == 0.0]
            if metric != "loss" or not rewarded:
                past.extend([value for _, value in known])
                self._steps[metric].extend([at for at, _ in known])
        full = [metric for metric, past in self._past.items() if len(past) == 2 * WINDOW]
        return self._test(step, full) if full else []

    def absorb(self, block: Block) -> bool:
        """Take a block in which no variance grows as far as it must."""
        waiting = len(self._waiting)
        if any(row.keys() != block.metrics.keys() for _, row in self._waiting):
            return False
        tests = (waiting + len(block)) // EVERY
        taken = tests * EVERY - waiting
        columns = {}
        for metric in _WATCHED:
            if metric in block.metrics and (metric != "loss" or "reward" not in block.metrics):
                begun = [row[metric] for _, row in self._waiting]
                if any(value is None or value - value != 0.0 for value in begun):
                    return False
                columns[metric] = np.concatenate([self._past[metric], begun, block.metrics[metric][: max(taken, 0)]])
        if tests == 0:
            self._waiting += block.rows
            return True
        for values in columns.values():
            ends = len(values) - EVERY * np.arange(tests)
            ends = ends[ends >= 2 * WINDOW]
            windows = values[ends[:, None] + np.arange(-2 * WINDOW, 0)].reshape(-1, 2, WINDOW)
            if len(windows) and _grown(windows)[0].any():
                return False
        steps = [at for at, _ in self._waiting] + block.steps[:taken].tolist()
        for metric, values in columns.items():
            self._past[metric].extend(values[len(self._past[metric]) :][-2 * WINDOW :].tolist())
            self._steps[metric].extend(steps[-WINDOW:])
        self._waiting = [*block.tail(len(block) - taken)] if len(block) > taken else []
        return True

    def _test(self, step: int, metrics: list[str]) -> list[Anomaly]:
        anomalies: list[Anomaly] = []
        values = np.array([self._past[metric] for metric in metrics]).reshape(-1, 2, WINDOW)
        grew, rest, sizes = _grown(values)
        for place in np.flatnonzero(grew):
            was, size = sizes[place].tolist()
            anomalies += self._judge(step, metrics[place], values[place, 1], rest[place, 1] / size, was, size)
        return anomalies

    def _judge(
        self, step: int, metric: str, values: FloatArray, rest: FloatArray, was: float, size: float
    ) -> list[Anomaly]:
        power = np.abs(np.fft.rfft(rest)) ** 2
        pairs = power[PERIODS:-1] + power[PERIODS + 1 :]
        best = int(pairs.argmax())
        share = float(pairs[best] / power.sum())
        if share < SHARE:
            return []
        swing = 2.0 * 2.0**0.5 * size
        level = float(np.median(values)) - min(0.0, *self._past[metric])
        severity = Severity.warning if swing > SWING * level else Severity.info
        known = self._reported.get(metric)
        if known is not None and severity <= known.severity:
            return []
        frequency = PERIODS + best + float(power[PERIODS + best + 1] / pairs[best])
        evidence = {"swing": swing, "level": level, "times": size / was, "period": WINDOW / frequency, "share": share}
        onset = known.onset if known else self._steps[metric][0]
        self._reported[metric] = anomaly = _anomaly(metric, severity, onset, step, evidence)
        return [anomaly]


def _grown(values: FloatArray) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Return whether the swings grew, for values of shape (n, 2, rows): before, and in the window.

    Returns:
        Shape (n,); with it the values less their straight lines, and the standard deviations of these, shape (n, 2).
    """
    with np.errstate(all="ignore"):  # values near the largest float overflow their squares: not judged
        rest = _residuals(values)
        sizes = np.sqrt((rest * rest).sum(axis=-1) / values.shape[-1])
        least = np.maximum(GREW * sizes[:, 0], ROUNDING * np.abs(values).max(axis=(1, 2)))
        return (sizes[:, 0] > 0.0) & (sizes[:, 1] >= least) & (sizes[:, 1] < np.inf), rest, sizes


def _residuals(values: FloatArray) -> FloatArray:
    """Return the values less their least-squares lines over the last axis."""
    places = np.arange(values.shape[-1]) - 0.5 * (values.shape[-1] - 1)
    off = values - values.mean(axis=-1, keepdims=True)
    return off - (off @ places / (places @ places))[..., None] * places  # type: ignore[no-any-return]


def _anomaly(metric: str, severity: Severity, onset: int, step: int, evidence: Mapping[str, float]) -> Anomaly:
    return Anomaly(
        kind="oscillation",
        metric=metric,
        severity=severity,
        onset=onset,
        summary=f"swings by {evidence['swing']:.3g} every {evidence['period']:.3g} rows, over the {WINDOW} rows to "
        f"step {step}: {evidence['times']:.2g} times as far as before",
        evidence=evidence,
        causes=(
            "an adaptive KL coefficient that overshoots",
            "the learning rate is too high: each update over-corrects the one before",
            "the data come round in a fixed order, and are learnt by heart",
        ),
        remedy="fix the KL coefficient or make its horizon longer; lower learning_rate; shuffle the data",
    )


SPEC = DetectorSpec("oscillation", lambda _: Oscillation())
