"""Completions that run into the length limit, as they did not at the start."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block
from rlhf_assert.recording.series import FloatArray

Row = Mapping[str, float | None]

START = 3
ROWS = 8
SHARE = 0.9
LONGER = 1.5
_MEMORY = 40


@dataclass(slots=True)
class Truncation:
    """Reports `length-saturation`: completions pinned to their cap for 8 rows, after a start that was free of it.

    Pinned means cut off in 90 % or more of cases, or, where the share is not logged, a mean length that stays within
    half a percent of its maximum so far and 1.5 times above its start (the median of the first 3 rows). Runs that are
    cut off from the first row on are common and healthy, and are not judged. A warning; critical if the reward of these
    rows is under .7 of what it was before them, or the entropy is under a tenth of its start: cut-off texts then are
    all that the policy writes. A reward that rises meanwhile is no comfort: it pays for length.

    False alarms: none on noise, since a share under a half must come to stay above .9, or a length must stand still.
    """

    name: str = "truncation"
    _start: dict[str, list[float]] = field(default_factory=lambda: {"truncated_fraction": [], "response_length": []})
    _rewards: deque[float] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _longest: float = 0.0
    _entropy: float = 0.0
    _streak: int = 0
    _onset: int = 0
    _reported: Severity | None = None

    def update(self, step: int, metrics: Row) -> list[Anomaly]:  # noqa: C901 - hot: calls would cost more
        """Take one row; rows that tell neither the share nor the length are passed over."""
        share, length = metrics.get("truncated_fraction"), metrics.get("response_length")
        reward = metrics.get("reward")
        if reward is not None and reward - reward == 0.0:
            self._rewards.append(reward)
        entropy = metrics.get("entropy")
        if entropy is not None and entropy > self._entropy and len(self._rewards) <= START:
            self._entropy = entropy
        if share is None and length is None:
            return []
        if (
            share is not None
            and share < SHARE
            and self._reported is None
            and len(self._start["truncated_fraction"]) >= START
        ):
            self._streak = 0  # nearly every row; the length only counts where no share is logged
            return []
        pinned = self._pinned("truncated_fraction", share)
        if share is None:
            pinned = self._pinned("response_length", length)
        if length is not None and length > self._longest:
            self._longest = length
        if not pinned:
            self._streak = 0
            return []
        if self._streak == 0 and self._reported is None:
            self._onset = step
        self._streak += 1
        if self._streak < ROWS or self._streak > 5 * ROWS or self._reported is Severity.critical:
            return []
        severity, why = self._judge(metrics)
        if self._reported is not None and severity <= self._reported:
            return []
        self._reported = severity
        return [self._anomaly(share, length, severity, why)]

    def absorb(self, block: Block) -> bool:
        """Take a block in which no completions are pinned for 8 rows."""
        share, length, reward = map(block.metrics.get, ("truncated_fraction", "response_length", "reward"))
        starting = len(self._rewards) <= START
        if starting and reward is not None:
            return False
        if share is not None or length is not None:
            start = self._start["response_length" if share is None else "truncated_fraction"]
            if len(start) < START:
                return False
            longest, last = streaks(self._pinned_rows(share, length, median(start)), self._streak)
            if longest >= ROWS:
                return False
            if 0 < last <= len(block) and self._reported is None:
                self._onset = int(block.steps[-last])
            self._streak = last
            if length is not None:
                seen = length if share is None or self._reported is not None else length[share >= SHARE]
                self._longest = float(seen.max(initial=self._longest))
        if reward is not None:
            self._rewards.extend(reward[-_MEMORY:].tolist())
        if starting and "entropy" in block.metrics:
            self._entropy = float(block.metrics["entropy"].max(initial=self._entropy))
        return True

    def _pinned_rows(self, share: FloatArray | None, length: FloatArray | None, start: float) -> NDArray[np.bool_]:
        if share is not None:
            return (share >= SHARE) & (start < 0.5)
        assert length is not None
        longest = np.maximum.accumulate(np.concatenate(([self._longest], length)))[:-1]
        return (length >= LONGER * start) & (start > 0.0) & (np.abs(length - longest) <= 0.005 * longest)

    def _pinned(self, metric: str, value: float | None) -> bool:
        if value is None or value - value != 0.0:
            return False
        start = self._start[metric]
        if len(start) < START:
            start.append(value)
            return False
        if metric == "truncated_fraction":
            return value >= SHARE and median(start) < 0.5
        return value >= LONGER * median(start) > 0.0 and abs(value - self._longest) <= 0.005 * self._longest

    def _judge(self, metrics: Row) -> tuple[Severity, str]:
        rewards = list(self._rewards)
        now, before = rewards[-self._streak :], rewards[: -self._streak]
        entropy = metrics.get("entropy")
        if entropy is not None and 0.0 <= entropy < 0.1 * self._entropy:
            return Severity.critical, f"entropy fell to {entropy:.3g}"
        if len(now) < ROWS or len(before) < START:
            return Severity.warning, ""
        was, is_now = median(before), median(now)
        if is_now < was - 0.3 * abs(was):
            return Severity.critical, f"the reward fell from {was:.3g} to {is_now:.3g}"
        return Severity.warning, ""

    def _anomaly(self, share: float | None, length: float | None, severity: Severity, why: str) -> Anomaly:
        what = f"{share:.0%} cut off" if share is not None else f"{length:.4g} tokens, at the cap"
        return Anomaly(
            kind="length-saturation",
            metric="response_length" if share is None else "truncated_fraction",
            severity=severity,
            onset=self._onset,
            summary=f"{what} for {self._streak} rows from step {self._onset} on, as not at the start"
            + (f"; {why}" if why else ""),
            evidence={"rows": self._streak, "share": -1.0 if share is None else share, "length": length or 0.0},
            causes=("the reward pays for length", "the policy no longer ends its texts"),
            remedy="read completions: if they ramble, penalise length or the missing end; if they are good, raise "
            "the cap",
        )


SPEC = DetectorSpec("truncation", lambda _: Truncation())
