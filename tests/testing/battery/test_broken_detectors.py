"""The battery passes a sound detector, and finds the bug in each of twenty-one that have one."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import pytest

import rlhf_assert
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.rows import Block
from rlhf_assert.testing.battery import DetectorFlawed, Finds, check_detector
from rlhf_assert.testing.strategies import anomalous, series, spike

Row = Mapping[str, float | None]
WINDOW, LEAST, BEYOND, REST = 40, 20, 6.0, 20


class Outlier:
    """A reward 6 times further from the median of the last 40 than half of them are; then quiet for 20 rows.

    The median and the greatest distance from it need no scale and no shape: a value counts once it is twice as far out
    as any of the window, and `BEYOND` median distances too.
    """

    name = "outlier"

    def __init__(self) -> None:
        self.window: deque[float] = deque(maxlen=WINDOW)
        self.quiet = 0

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        value = self.value(metrics)
        if value is None:
            return []
        self.quiet -= 1
        found = []
        if self.quiet <= 0 and self.is_outlier(value):
            self.quiet = REST
            found.append(self.anomaly(step, value))
        self.window.append(value)
        return found

    def value(self, metrics: Row) -> float | None:
        value = metrics.get("reward")
        return value if value is not None and -1e150 < value < 1e150 else None

    def is_outlier(self, value: float) -> bool:
        if len(self.window) < LEAST:
            return False
        ordered = sorted(self.window)
        level = ordered[len(ordered) // 2]
        away = sorted(abs(other - level) for other in ordered)
        return abs(value - level) > max(2.0 * away[-1], BEYOND * away[len(away) // 2]) > 0.0

    def anomaly(self, step: int, value: float) -> Anomaly:
        return Anomaly(
            kind="outlier",
            metric="reward",
            severity=Severity.warning,
            onset=step,
            summary=f"{value:.3g} at step {step}",
        )


class NeverFires(Outlier):
    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) and False


class FiresOnNoise(Outlier):
    def is_outlier(self, value: float) -> bool:
        level = sorted(self.window)[len(self.window) // 2] if self.window else value
        return len(self.window) >= LEAST and abs(value - level) > 0.7 * max(abs(x - level) for x in self.window) > 0.0


class FiresOnConstants(Outlier):
    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) or (len(self.window) == WINDOW and len(set(self.window)) == 1)


class CrashesOnNan(Outlier):
    def value(self, metrics: Row) -> float | None:
        value = metrics.get("reward")
        return None if value is None else int(value * 1e6) / 1e6


class TakesNullForZero(Outlier):
    def value(self, metrics: Row) -> float | None:
        value = super().value(metrics)
        return 0.0 if value is None and "reward" in metrics else value


class BlindAfterNan(Outlier):
    def value(self, metrics: Row) -> float | None:
        return metrics.get("reward")


class LateOnset(Outlier):
    def anomaly(self, step: int, value: float) -> Anomaly:
        return super().anomaly(step + 1, value)


class EarlyOnset(Outlier):
    def __init__(self) -> None:
        super().__init__()
        self.previous = 0

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        self.step, self.previous = self.previous or step, step
        return super().update(step, metrics)

    def anomaly(self, step: int, value: float) -> Anomaly:
        return super().anomaly(self.step, value)


class KnowsTheUnit(Outlier):
    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) and abs(value - self.window[-1]) > 0.5


class KnowsTheZero(Outlier):
    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) and abs(value) > 2.0 * abs(sorted(self.window)[len(self.window) // 2])


class SharesState(Outlier):
    shared: ClassVar[deque[float]] = deque(maxlen=WINDOW)

    def __init__(self) -> None:
        super().__init__()
        self.window = self.shared


class LooksAhead(Outlier):
    """Keeps what every instance saw by step, and waits for a second value that it has seen before."""

    seen: ClassVar[dict[int, float]] = {}

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        future = self.seen.get(step + 1)
        value = self.value(metrics)
        if value is not None:
            self.seen[step] = value
        if future is not None and len(self.window) >= LEAST and self.quiet <= 1 and self.is_outlier(future):
            self.quiet = REST
            return [self.anomaly(step, future)]
        return super().update(step, metrics)


class GuessesByChance(Outlier):
    chance = random.Random(0)

    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) and self.chance.random() < 0.97


class ReportsTwice(Outlier):
    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        return [anomaly for anomaly in super().update(step, metrics) for _ in range(2)]


class ReportsForEver(Outlier):
    def __init__(self) -> None:
        super().__init__()
        self.sick = False

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        found = list(super().update(step, metrics))
        self.sick = self.sick or bool(found)
        return [self.anomaly(step, 0.0)] if self.sick else []


class KeepsEverything(Outlier):
    def __init__(self) -> None:
        super().__init__()
        self.history: list[float] = []

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        value = self.value(metrics)
        if value is not None:
            self.history.append(value)
        return super().update(step, metrics)


class WalksItsHistory(KeepsEverything):
    def is_outlier(self, value: float) -> bool:
        return super().is_outlier(value) and value not in self.history[:-1]

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        self.mean = sum(self.history) / max(1, len(self.history))
        return super().update(step, metrics)


class SpoilsTheRow(Outlier):
    def update(self, step: int, metrics: Any) -> Iterable[Anomaly]:
        found = super().update(step, metrics)
        metrics["reward"] = 0.0
        return found


class SaysText(Outlier):
    def anomaly(self, step: int, value: float) -> Any:
        return f"outlier at step {step}"


class Absorbs(Outlier):
    """Takes calm rows in blocks: those in which it is not quiet, and would find nothing in a copy of itself."""

    def absorb(self, block: Block) -> bool:
        trial = copy.deepcopy(self)
        if any(trial.update(step, metrics) for step, metrics in block.rows):
            return False
        self.window, self.quiet = trial.window, trial.quiet
        return True


class ForgetsWhatItAbsorbs(Outlier):
    def absorb(self, block: Block) -> bool:
        return True


class IsNotFinished(Outlier):
    finished = False

    def update(self, step: int, metrics: Row) -> Iterable[Anomaly]:
        self.finished = self.finished or len(self.window) > 25
        return super().update(step, metrics)


BROKEN: dict[type[Outlier], str] = {
    NeverFires: "finds what was planted",
    FiresOnNoise: "is silent on health",
    FiresOnConstants: "is silent on constants",
    CrashesOnNan: "keeps the protocol",
    TakesNullForZero: "is not blinded",
    BlindAfterNan: "is not blinded",
    LateOnset: "reports what was seen",
    EarlyOnset: "tells the onset",
    KnowsTheUnit: "does not depend on units",
    KnowsTheZero: "does not depend on units",
    SharesState: "gives the same answer twice",
    LooksAhead: "never looks ahead",
    GuessesByChance: "gives the same answer twice",
    ReportsTwice: "reports once",
    ReportsForEver: "reports once",
    KeepsEverything: "keeps a bounded memory",
    WalksItsHistory: "takes a bounded time",
    SpoilsTheRow: "keeps the protocol",
    SaysText: "keeps the protocol",
    ForgetsWhatItAbsorbs: "absorbs what it would pass over",
    IsNotFinished: "keeps the protocol",
}
"""Broken detector -> the property that it lacks."""

CALM = series(min_rows=60, max_rows=100, noisy=True, ornaments=())
SPIKES = Finds(logs=anomalous(CALM, spike((15.0, 40.0), rows=1), after=30, room=5), delay=0)


@pytest.mark.parametrize("sound", [Outlier, Absorbs])
def test_a_sound_detector_passes(sound: type[Outlier]) -> None:
    check_detector(sound, finds=[SPIKES], examples=25)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_every_planted_bug_is_found(broken: type[Outlier]) -> None:
    with pytest.raises(DetectorFlawed) as caught:
        check_detector(broken, finds=[SPIKES], examples=25)

    assert BROKEN[broken] in {flaw.lacks for flaw in caught.value.flaws}


def test_a_failure_says_which_property_with_the_smallest_example() -> None:
    with pytest.raises(DetectorFlawed) as caught:
        check_detector(FiresOnConstants, finds=[SPIKES], examples=20)

    assert str(caught.value).splitlines() == [
        "outlier: 1 flaw",
        "  is silent on constants: outlier of reward at row 40",
        "    steps   1 to 41",
        "    reward   0 x41",
    ]


def test_a_crash_is_shown_on_the_row_that_causes_it() -> None:
    with pytest.raises(DetectorFlawed) as caught:
        check_detector(CrashesOnNan, finds=[SPIKES], examples=20)

    crash = next(flaw for flaw in caught.value.flaws if flaw.lacks == "keeps the protocol")
    assert crash.detail.endswith("row 0: cannot convert float infinity to integer")
    assert len(crash.log) == 1


def test_what_is_weaker_than_stated_is_found_and_what_is_as_stated_is_not() -> None:
    faint = anomalous(CALM, spike(5.0, rows=1), after=30, room=5)

    check_detector(Outlier, finds=[SPIKES, Finds(logs=faint, power=0.2, delay=0)], examples=25)
    with pytest.raises(DetectorFlawed, match=r"finds what was planted: spike of reward: .* within 0 rows, stated 95 %"):
        check_detector(Outlier, finds=[Finds(logs=faint, power=0.95, delay=0)], examples=25)


def test_what_is_allowed_is_no_flaw() -> None:
    check_detector(KnowsTheUnit, finds=[SPIKES], examples=20, invariance="none")
    check_detector(FiresOnConstants, finds=[SPIKES], examples=20, fires_on_constants=True)


def test_usage() -> None:
    with pytest.raises(UsageError, match="takes what makes a fresh detector"):
        check_detector(Outlier(), finds=[SPIKES])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="finds is empty"):
        check_detector(Outlier, finds=[])
    assert rlhf_assert.check_detector is check_detector
