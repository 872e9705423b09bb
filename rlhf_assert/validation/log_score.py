"""How the detectors of rows do on faults that were planted in the logs of healthy trainings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.scan import detectors_for
from rlhf_assert.recording.run import Run
from rlhf_assert.validation.log_faults import LOG_FAULTS, plant
from rlhf_assert.validation.signs import Sign, detector_signs

SEVERITY = Severity.warning
"""From which a sign counts: what only rows show is seldom more than a warning."""
DATED = 8
"""Rows before the onset to which a sign may date it: the window of a level test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScore:
    """What was told about one planted fault.

    Attributes:
        fault: its name in `LOG_FAULTS`.
        scenario: the scenario whose healthy log it was planted in.
        onset: the step from which it is there.
        finders: every detector that told it, at the onset or later and dated there or `DATED` rows before, with its
            first sign, the earliest first.
        misdated: signs that were told from the onset on, and dated before that.
    """

    fault: str
    scenario: str
    onset: int
    finders: Mapping[str, Sign]
    misdated: tuple[Sign, ...]

    @property
    def delay(self) -> int | None:
        """Steps from the onset to the first sign; None without one."""
        return next((sign.told - self.onset for sign in self.finders.values()), None)

    def missed_without(self, detector: str) -> bool:
        """Whether this detector alone tells it."""
        return self.finders.keys() == {detector}

    def later_without(self, detector: str) -> bool:
        """Whether this detector tells it before any other, and another tells it later."""
        told = {source: sign.told for source, sign in self.finders.items()}
        others = [at for source, at in told.items() if source != detector]
        return detector in told and bool(others) and told[detector] < min(others)


def score_logs(hosts: Sequence[Run]) -> tuple[LogScore, ...]:
    """Plant every fault in every healthy run that it can be in, and ask the detectors of rows."""
    return tuple(score for host in hosts for score in _scores(host))


def idle_detectors(scores: Sequence[LogScore]) -> tuple[str, ...]:
    """Return those of our detectors without which every planted fault is found as soon."""
    return tuple(
        name
        for name, spec in BUILT_IN.items()
        if spec.on_by_default and not any(score.missed_without(name) or score.later_without(name) for score in scores)
    )


def _scores(host: Run) -> Iterator[LogScore]:
    known = {(sign.kind, sign.metric, sign.onset, sign.severity) for sign in detector_signs(host, detectors_for(host))}
    for name, fault in LOG_FAULTS.items():
        planted = plant(host, fault)
        if planted is None:
            continue
        run, onset = planted
        steps = [row.step for row in run.rows]
        earliest = steps[max(0, steps.index(onset) - DATED)]
        told = [
            sign
            for sign in detector_signs(run, detectors_for(run))
            if sign.severity >= SEVERITY
            and sign.told >= onset
            and (sign.kind, sign.metric, sign.onset, sign.severity) not in known
        ]
        finders: dict[str, Sign] = {}
        for sign in sorted(told, key=lambda sign: sign.told):
            if sign.onset >= earliest:
                finders.setdefault(sign.source, sign)
        yield LogScore(
            fault=name,
            scenario=host.scenario,
            onset=onset,
            finders=finders,
            misdated=tuple(sign for sign in told if sign.onset < earliest),
        )
