"""What a validation comes to: rates and delays with intervals, by fault and by detector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.scan import detectors_for
from rlhf_assert.detect.settings import settings_of
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.validation.intervals import Median, Rate, median, rate
from rlhf_assert.validation.log_score import LogScore, score_logs
from rlhf_assert.validation.plan import LONG_STEPS
from rlhf_assert.validation.score import (
    OURS,
    ControlScore,
    FaultScore,
    Judged,
    score_control,
    score_fault,
    with_settings,
)
from rlhf_assert.validation.signs import Sign, detector_signs

BUDGETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of healthy runs that may show a warning, at which the calibration is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """What a validation must reach.

    Attributes:
        recall: least share of the faults that are found.
        false_alarms: largest share of the healthy runs that are flagged.
        delay: largest median delay of abrupt faults, in steps.
    """

    recall: float = 0.95
    false_alarms: float = 0.02
    delay: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One contender's scores and what they come to.

    Attributes:
        contender: its name.
        faults: a score for each training with a fault.
        controls: a score for each healthy training.
        recall: share of the faults that it found.
        false_alarms: share of the healthy trainings that it flagged.
        early: share of the trainings with a fault that it flagged before the fault.
        right: share of the found faults that one of the right checks found.
        abrupt: delay of abrupt faults in steps; one that is not found is infinitely late.
        gradual: delay of the others.
    """

    contender: str
    faults: tuple[FaultScore, ...]
    controls: tuple[ControlScore, ...]
    recall: Rate
    false_alarms: Rate
    early: Rate
    right: Rate
    abrupt: Median
    gradual: Median

    def below(self, floor: Floor) -> list[str]:
        """Return what does not reach the floor, in words; nothing if all does."""
        hits = []
        if self.recall.value < floor.recall:
            hits.append(f"recall {self.recall.value:.3f} is under its floor of {floor.recall:g}")
        if self.false_alarms.value > floor.false_alarms:
            hits.append(f"false alarms {self.false_alarms.value:.3f} are over their limit of {floor.false_alarms:g}")
        if self.abrupt.value > floor.delay:
            hits.append(f"median delay {self.abrupt.value:g} of abrupt faults is over its limit of {floor.delay:g}")
        return hits


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRow:
    """One fault over its scenarios and seeds."""

    fault: str
    scenarios: tuple[str, ...]
    recall: Rate
    delay: Median
    by: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One detector or check over all trainings: how many faults it found, first, and alone; healthy runs flagged."""

    source: str
    found: int
    first: int
    alone: int
    false_alarms: int
    delay: Median


@dataclass(frozen=True, slots=True)
class AblationRow:
    """What is lost without one detector or check: faults that nothing else finds, or finds later.

    Attributes:
        source: the detector or check.
        lost: faults that are not found without it.
        later: faults that are found later.
        among_rows: faults that the detectors alone, by the logged rows, do not find without it, or find later.
        in_logs: faults planted in long logs that are not found without it, or found later.
    """

    source: str
    lost: tuple[FaultScore, ...]
    later: tuple[FaultScore, ...]
    among_rows: tuple[FaultScore, ...]
    in_logs: tuple[LogScore, ...] = ()

    @property
    def earns_its_place(self) -> bool:
        """Whether anything is lost without it."""
        return bool(self.lost or self.later or self.among_rows or self.in_logs)


def summarise(judged: Sequence[Judged], contender: str, severity: Severity) -> Summary:
    """Score every training for one contender."""
    faults = tuple(
        score_fault(each.training, each.signs[contender], severity, each.causes if contender == OURS else ())
        for each in judged
        if each.training.fault
    )
    controls = tuple(
        score_control(each.training, each.signs[contender], severity) for each in judged if not each.training.fault
    )
    hits = [score for score in faults if score.by]
    return Summary(
        contender=contender,
        faults=faults,
        controls=controls,
        recall=rate(len(hits), len(faults)),
        false_alarms=rate(sum(bool(score.findings) for score in controls), len(controls)),
        early=rate(sum(bool(score.early) for score in faults), len(faults)),
        right=rate(sum(score.right for score in hits), len(hits)),
        abrupt=_delay([score for score in faults if FAULTS[score.fault.kind].abrupt]),
        gradual=_delay([score for score in faults if not FAULTS[score.fault.kind].abrupt]),
    )


def by_fault(summary: Summary) -> list[FaultRow]:
    """Return a row for each fault, in the order of the plan."""
    rows = []
    for name in dict.fromkeys(score.fault.kind for score in summary.faults):
        scores = [score for score in summary.faults if score.fault.kind == name]
        by = Counter(score.by.source for score in scores if score.by)
        rows.append(
            FaultRow(
                fault=name,
                scenarios=tuple(dict.fromkeys(score.scenario for score in scores)),
                recall=rate(sum(score.by is not None for score in scores), len(scores)),
                delay=_delay(scores),
                by=tuple(by.most_common()),
            )
        )
    return rows


def judge_logs(judged: Sequence[Judged]) -> tuple[LogScore, ...]:
    """Plant faults in the logs of the long healthy trainings, and score what the detectors of rows tell."""
    return score_logs([each.run for each in judged if not each.training.fault and len(each.run.rows) >= LONG_STEPS])


def by_source(summary: Summary) -> list[SourceRow]:
    """Return a row for each detector and check that told anything, the one that found most first."""
    flagged = Counter(source for score in summary.controls for source in {sign.source for sign in score.findings})
    sources = dict.fromkeys([name for score in summary.faults for name in score.finders] + list(flagged))
    rows = []
    for source in sources:
        hits = [score for score in summary.faults if source in score.finders]
        rows.append(
            SourceRow(
                source=source,
                found=len(hits),
                first=sum(score.finders[source].told == score.by.told for score in hits if score.by),
                alone=sum(len(score.finders) == 1 for score in hits),
                false_alarms=flagged[source],
                delay=median([score.finders[source].told - score.fault.onset for score in hits]),
            )
        )
    return sorted(rows, key=lambda row: (-row.found, row.source))


def calibrate(judged: Sequence[Judged]) -> list[tuple[float, Rate]]:
    """Return, for each budget, the share of the healthy trainings in which a detector warns."""
    controls = [each.run for each in judged if not each.training.fault]
    points = []
    for budget in BUDGETS:
        flagged = 0
        for run in controls:
            changed = replace(settings_of(run.info), warning=budget, critical=budget / 10.0)
            detectors = detectors_for(with_settings(run, changed))
            flagged += any(sign.severity >= Severity.warning for sign in detector_signs(run, detectors))
        points.append((budget, rate(flagged, len(controls))))
    return points


def ablate(judged: Sequence[Judged], severity: Severity, logs: Sequence[LogScore] = ()) -> list[AblationRow]:
    """Score the trainings without each detector and each check that finds things by itself.

    Args:
        judged: what was told, with and (`Judged.without`) without each detector.
        severity: the severity from which a sign counts.
        logs: what was told about faults that were planted in logs.
    """
    faulty = [each for each in judged if each.training.fault]
    detectors = {name: None for name, spec in BUILT_IN.items() if spec.on_by_default}
    checks = {sign.source: None for each in faulty for sign in each.signs[OURS] if sign.source not in detectors}
    rows = []
    for source in {**detectors, **checks}:
        lost, later = _loss(faulty, source, severity, set())
        by_rows = sum(_loss(faulty, source, severity, set(checks)), ())
        in_logs = tuple(score for score in logs if score.missed_without(source) or score.later_without(source))
        rows.append(AblationRow(source, lost, later, by_rows, in_logs))
    return rows


def _loss(
    faulty: Sequence[Judged], source: str, severity: Severity, but: set[str]
) -> tuple[tuple[FaultScore, ...], tuple[FaultScore, ...]]:
    """Return what is not found without a source, and what is found later; of all that is told but by some others."""

    def score(each: Judged, signs: Sequence[Sign]) -> FaultScore:
        return score_fault(each.training, [sign for sign in signs if sign.source not in but], severity)

    pairs = [(score(each, each.signs[OURS]), score(each, _without(each, source))) for each in faulty]
    return (
        tuple(full for full, less in pairs if full.by and not less.by),
        tuple(full for full, less in pairs if less.by and _late(less) > _late(full)),
    )


def _without(judged: Judged, source: str) -> Sequence[Sign]:
    if source in judged.without:
        return judged.without[source]
    return [sign for sign in judged.signs[OURS] if sign.source != source]


def _late(score: FaultScore) -> float:
    return inf if score.delay is None else score.delay


def _delay(scores: Sequence[FaultScore]) -> Median:
    return median([_late(score) for score in scores])
