"""What counts as found: a fault, by whom and how late; a healthy run, flagged or not.

A fault is found by a sign that is grave enough, told at its onset or later, and dated at its onset or later. What is
told before the onset is a false alarm: up to there the run is, bit for bit, the healthy one. What is told later but
dated before the onset is no find either: it would send the reader to steps that were sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rlhf_assert.checked import Concern
from rlhf_assert.checks.registry import checks, found_by
from rlhf_assert.detect import DetectorContext, DetectorSpec, Severity
from rlhf_assert.detect.default import make_detector
from rlhf_assert.detect.scan import detectors_for
from rlhf_assert.detect.settings import Settings, settings_of
from rlhf_assert.recording.encoding import encode
from rlhf_assert.recording.run import Run
from rlhf_assert.training.faults import Fault
from rlhf_assert.training.request import Request
from rlhf_assert.validation.signs import Sign, detector_signs, every_sign
from rlhf_assert.verdict import judge

OURS = "rlhf-assert"
"""The contender that is our detectors and checks together."""

ROWS = "its detectors, by rows alone"
"""The contender that is what our detectors tell from the logged rows, as of a log that somebody else wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A training of a validation with what was told about it.

    Attributes:
        training: what was trained.
        run: what it recorded.
        signs: by contender, `OURS` and `ROWS` first, what it told.
        causes: the causes that the failed checks name.
        without: by detector that told something, what is told without it; only if an ablation was asked for.
        failed: by contender that failed, its error.
    """

    training: Request
    run: Run
    signs: Mapping[str, tuple[Sign, ...]]
    causes: tuple[str, ...] = ()
    without: Mapping[str, tuple[Sign, ...]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultScore:
    """One contender on one training with a fault.

    Attributes:
        fault: the fault.
        scenario: name of the scenario.
        seed: the seed.
        by: the sign that found it first; None if nothing did.
        finders: every source that found it, with its first sign, the earliest first.
        early: signs that were told before the onset: false alarms.
        misdated: signs that were told from the onset on, and dated before it.
        right: whether one of the checks or kinds that are the right ones for this fault found it.
        causes: the causes that the failed checks name; none for a contender.
    """

    fault: Fault
    scenario: str
    seed: int
    by: Sign | None
    finders: Mapping[str, Sign]
    early: tuple[Sign, ...]
    misdated: tuple[Sign, ...]
    right: bool
    causes: tuple[str, ...]

    @property
    def delay(self) -> int | None:
        """Steps from the onset to the one at which it could be told: 0 for the onset's own row. None if not found."""
        return None if self.by is None else self.by.told - self.fault.onset


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlScore:
    """One contender on one healthy training.

    Attributes:
        scenario: name of the scenario.
        seed: the seed.
        findings: the signs that flag it.
    """

    scenario: str
    seed: int
    findings: tuple[Sign, ...]


def judge_training(
    training: Request,
    run: Run,
    contenders: Mapping[str, DetectorSpec],
    *,
    thresholds: Mapping[str, float | None] | None = None,
    ablation: bool = False,
) -> Judged:
    """Collect what is told about a training.

    Args:
        training: what was trained.
        run: what it recorded; its own settings are those of our detectors.
        contenders: name -> spec of a detector that is compared with ours.
        thresholds: the number that is set for a contender, by its name.
        ablation: judge again without each detector that told something.
    """
    verdict = judge(run)
    names = {detector.name for detector in detectors_for(run)}
    signs = {OURS: every_sign(run, verdict)}
    signs[ROWS] = tuple(sign for sign in signs[OURS] if sign.source in names)
    failed: dict[str, str] = {}
    for name, spec in contenders.items():
        threshold = (thresholds or {}).get(name)
        context = DetectorContext(algorithm=run.algorithm, config=run.config, threshold=threshold)
        signs[name] = detector_signs(run, [make_detector(spec, context)], failed=failed)
    causes = tuple(dict.fromkeys(str(check.cause) for check in verdict.failures if check.cause))
    telling = {sign.source for sign in signs[ROWS]} if ablation else set()
    without = {name: every_sign(_without(run, name)) for name in telling}
    return Judged(training=training, run=run, signs=signs, causes=causes, without=without, failed=failed)


def _without(run: Run, detector: str) -> Run:
    """Return a run that is judged without one detector; its part of the false-alarm budget falls to the others."""
    settings = settings_of(run.info)
    return with_settings(run, replace(settings, detectors={**settings.detectors, detector: False}))


def with_settings(run: Run, settings: Settings) -> Run:
    """Return a recorded run with other settings of detection, to be judged by them."""
    return replace(run, info={**run.info, "detection": encode(settings.table())})


def score_fault(
    training: Request, signs: Sequence[Sign], severity: Severity, causes: tuple[str, ...] = ()
) -> FaultScore:
    """Score what one contender told about a training with a fault."""
    fault = training.fault
    assert fault is not None
    wanted = found_by(fault.kind)
    endings = {spec.name for spec in checks() if Concern.ENDING in spec.concerns}
    # A crash that a fault does not bring about is a defect of who injects it, and no find.
    expected = [sign for sign in signs if sign.source not in endings or sign.source in wanted]
    grave = [sign for sign in expected if sign.severity >= severity]
    late = [sign for sign in grave if sign.told >= fault.onset]
    finds = sorted((sign for sign in late if sign.onset >= fault.onset), key=lambda sign: sign.told)
    finders: dict[str, Sign] = {}
    for sign in finds:
        finders.setdefault(sign.source, sign)
    return FaultScore(
        fault=fault,
        scenario=training.scenario.name,
        seed=training.seed,
        by=finds[0] if finds else None,
        finders=finders,
        early=tuple(sign for sign in grave if sign.told < fault.onset),
        misdated=tuple(sign for sign in late if sign.onset < fault.onset),
        right=any(name in wanted for sign in finds for name in (sign.check, sign.kind, sign.source)),
        causes=causes,
    )


def score_control(training: Request, signs: Sequence[Sign], severity: Severity) -> ControlScore:
    """Score what one contender told about a healthy training."""
    return ControlScore(
        scenario=training.scenario.name,
        seed=training.seed,
        findings=tuple(sign for sign in signs if sign.severity >= severity),
    )
