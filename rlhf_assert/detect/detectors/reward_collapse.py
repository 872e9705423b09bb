"""A reward that is lost: the level to which training had brought it is gone, and does not come back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.budget import Budget, level_threshold
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.level import LONG, SHORT, WINDOW, Level, levels_after
from rlhf_assert.detect.reward_variance import no_variance
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

LOSS = 0.3
"""Share of what was gained (level less the floor) that must be lost: healthy rewards wander by a quarter."""
SUSTAINED = 16
"""Rows since the onset, of which all but 3 must stay under the level, before a loss can be critical; or 8 without
exception, by a threshold that 4 rows in succession do not pass."""
NEARLY_ALL = 0.8
"""Share of the gain whose loss needs no second witness."""
GAINED = 5.0
"""Spreads that a gain above a negative floor must have: noise alone lifts a level 3 spreads above its lowest row."""
_MEMORY = 64


@dataclass(slots=True)
class RewardCollapse:
    """Reports `reward-collapse`: a level shift (see `level`) of the reward downwards by 30 % of its gain or more.

    The gain is the level above the floor: 0 for rewards that were never negative, else the lowest reward so far, so
    that the rule is the same for any scale and, for signed rewards, any offset. A warning at first. Critical when it is
    sustained (8 rows, or the median of 16, at the critical rate) and corroborated: four fifths of the gain lost, group
    variance gone, completions cut off as they were not before, entropy or length off by a factor of 2, or KL up by a
    factor of 3. A loss that recovers stays a warning, and the watch begins anew.

    False alarms: its part of the run's budget, for the three windows together: they see the same rows, and the share of
    the gain that must be lost halves what they would cost. Needs 10 rows of reward.
    """

    budget: Budget = field(default_factory=Budget)
    threshold: float | None = None
    name: str = "reward-collapse"
    _levels: tuple[Level, ...] = field(default_factory=lambda: (Level(SHORT), Level(WINDOW), Level(LONG)))
    _rows: deque[tuple[int, Row]] = field(default_factory=lambda: deque(maxlen=_MEMORY))
    _floor: float = float("inf")
    _warned: Anomaly | None = None
    _before: list[Row] = field(default_factory=list)
    _since: list[Row] = field(default_factory=list)
    _bound: float = 0.0
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite reward are passed over."""
        reward = metrics.get("reward")
        if reward is None or reward - reward != 0.0 or self._done:
            return []
        if self._floor == float("inf"):
            self.budget.claim(self.name)
        self._floor = min(self._floor, reward)
        self._rows.append((step, metrics))
        fell = [level for level in self._levels if level.update(reward, self.budget, self.threshold) < 0]
        if self._warned is not None:
            return self._follow(metrics)
        for level in fell:
            floor = min(self._floor, 0.0)
            now = median(_known([row for _, row in self._rows][-level.window :], "reward"))
            gain = level.median - floor
            if gain > 0.0 and level.median - now >= LOSS * gain:
                return self._warn(step, level, now, gain)
        return []

    def absorb(self, block: Block) -> bool:
        """Take a block in which the reward does not fall from any level."""
        reward = block.metrics.get("reward")
        if reward is None or self._done:
            return True
        if self._warned is not None or self._floor == float("inf"):
            return False
        levels = levels_after(self._levels, reward, self.budget, self.threshold, direction=-1)
        if levels is None:
            return False
        self._levels = levels
        self._floor = min(self._floor, float(reward.min()))
        self._rows.extend(block.tail(_MEMORY))
        return True

    def _warn(self, step: int, level: Level, now: float, gain: float) -> list[Anomaly]:
        rows = list(self._rows)
        back = min(level.back(), len(rows) - 1) + 1
        onset = rows[-back][0]
        self._before, self._since = [row for _, row in rows[:-back]], [row for _, row in rows[-back:]]
        self._bound = level.median - LOSS * gain
        self._warned = Anomaly(
            kind="reward-collapse",
            metric="reward",
            severity=Severity.warning,
            onset=onset,
            summary=f"fell from {level.median:.3g} to {now:.3g} at step {step}, from step {onset} on",
            evidence={
                "value": now,
                "level": level.median,
                "spread": level.spread,
                "z": (now - level.median) / level.spread,
                "share_lost": (level.median - now) / gain,
                "gain": gain,
            },
            causes=(
                "the learning rate is too high",
                "the policy has left the texts that the reward can score",
                "an unlucky batch moved the policy, and nothing pulls it back",
            ),
            remedy="go back to a checkpoint from before this step; lower learning_rate or raise beta (kl_coef)",
        )
        return [self._warned, *self._follow(None)]

    def _follow(self, metrics: Row | None) -> list[Anomaly]:
        warned = self._warned
        assert warned is not None
        if metrics is not None:
            self._since.append(metrics)
        recent = _known(self._since[-WINDOW:], "reward")
        if sum(value > self._bound for value in recent) >= 6:  # it came back
            self._warned = None
            self._since, self._before = [], []
            return []
        if len(self._since) > 4 * _MEMORY:
            del self._since[: 2 * _MEMORY]
        if not self._lasts(warned):
            return []
        why = self._corroboration(warned)
        if not why:
            return []
        self._done = True
        return [
            Anomaly(
                kind=warned.kind,
                metric=warned.metric,
                severity=Severity.critical,
                onset=warned.onset,
                summary=f"{warned.summary}, and stayed there; {why}",
                evidence={**warned.evidence, "rows": len(self._since), "corroboration": why},
                causes=warned.causes,
                remedy=warned.remedy,
            )
        ]

    def _lasts(self, warned: Anomaly) -> bool:
        """Return whether the loss is sustained: for nearly all of 16 rows, or clearly so for 8 in succession."""
        values = _known(self._since[-SUSTAINED:], "reward")
        level, spread = float(warned.evidence["level"]), float(warned.evidence["spread"])
        rate = self.budget.rate(critical=True) / 2

        def beyond(value: float, window: int) -> bool:
            return self.threshold is not None or value <= level - spread * level_threshold(rate, window)

        if len(values) >= WINDOW and max(values[-WINDOW:]) <= self._bound and beyond(max(values[-WINDOW:]), SHORT):
            return True
        under = sum(value <= self._bound for value in values)
        return len(values) == SUSTAINED and under >= SUSTAINED - 3 and beyond(median(values), LONG)

    def _corroboration(self, warned: Anomaly) -> str:
        recent, before = self._since[-SUSTAINED:], self._before
        level, gain = float(warned.evidence["level"]), float(warned.evidence["gain"])
        gained = self._floor >= 0.0 or gain >= GAINED * float(warned.evidence["spread"])
        if gained and level - median(_known(recent, "reward")) >= NEARLY_ALL * gain:
            return "nearly all that was gained is lost"
        if _dead(recent) >= 0.75 and _dead(before) < 0.5:
            return "most groups of completions have lost their reward variance"
        if _middle(before, "truncated_fraction", 1.0) < 0.5 and _middle(recent, "truncated_fraction", 0.0) > 0.9:
            return "completions are cut off, as they were not before"
        for metric, least in (("entropy", 0.5), ("response_length", 0.5), ("kl_div", 0.0)):
            was, now = _middle(before, metric, 0.0), _middle(recent, metric, 0.0)
            most = 3.0 if metric == "kl_div" else 2.0
            if was > 0.0 and (now > most * was or now < least * was):
                return f"{metric} went from {was:.3g} to {now:.3g}"
        return ""


def _known(rows: list[Row], metric: str) -> list[float]:
    return [value for row in rows if (value := row.get(metric)) is not None and value - value == 0.0]


def _middle(rows: list[Row], metric: str, otherwise: float) -> float:
    values = _known(rows, metric)
    return median(values) if values else otherwise


def _dead(rows: list[Row]) -> float:
    return sum(bool(no_variance(row)) for row in rows) / max(1, len(rows))


SPEC = DetectorSpec(
    "reward-collapse", lambda context: RewardCollapse(context.budget, context.threshold), knob="spreads below the level"
)
