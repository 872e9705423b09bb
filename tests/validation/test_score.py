from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run
from rlhf_assert.training.request import Request
from rlhf_assert.validation.score import OURS, Judged, score_control, score_fault
from rlhf_assert.validation.scorecard import Floor, ablate, by_fault, by_source, summarise
from rlhf_assert.validation.signs import Sign

MakeSign = Callable[..., Sign]
MakeTraining = Callable[..., Request]


def judged(training: Request, *signs: Sign) -> Judged:
    run = Run(path=Path(), info={}, rows=(), series={}, original={}, unmapped=(), events=())
    return Judged(training=training, run=run, signs={OURS: signs}, causes=())


@pytest.mark.parametrize(
    ("onset", "told", "found", "early", "misdated"),
    [
        (10, 10, True, 0, 0),
        (12, 15, True, 0, 0),
        (4, 9, False, 1, 0),  # the run was the healthy one up to there
        (8, 12, False, 0, 1),  # it sends the reader to steps that were sound
    ],
)
def test_a_sign_counts_from_the_onset_on(
    make_training: MakeTraining, make_sign: MakeSign, onset: int, told: int, found: bool, early: int, misdated: int
) -> None:
    score = score_fault(make_training("reward_nan", 10), [make_sign(onset=onset, told=told)], Severity.critical)
    assert (score.by is not None, len(score.early), len(score.misdated)) == (found, early, misdated)
    assert score.delay == (told - 10 if found else None)


def test_a_warning_counts_only_from_warning_on(make_training: MakeTraining, make_sign: MakeSign) -> None:
    signs = [make_sign(severity=Severity.warning)]
    assert score_fault(make_training("reward_nan", 10), signs, Severity.critical).by is None
    assert score_fault(make_training("reward_nan", 10), signs, Severity.warning).by is signs[0]
    assert not score_control(make_training(), signs, Severity.critical).findings
    assert score_control(make_training(), signs, Severity.warning).findings


def test_the_earliest_sign_is_the_one_that_found_it(make_training: MakeTraining, make_sign: MakeSign) -> None:
    late, soon = make_sign("late", told=20), make_sign("soon", told=11)
    score = score_fault(make_training("reward_nan", 10), [late, soon], Severity.critical)
    assert score.by is soon
    assert list(score.finders) == ["soon", "late"]


def test_a_crash_that_the_fault_does_not_bring_about_is_no_find(
    make_training: MakeTraining, make_sign: MakeSign
) -> None:
    crash = make_sign("completion", check="completion", kind="crash")
    assert score_fault(make_training("weights_nan", 10), [crash], Severity.critical).by is crash
    assert score_fault(make_training("data_repeated", 10), [crash], Severity.critical).by is None


def test_the_right_check_is_told_from_any_check(make_training: MakeTraining, make_sign: MakeSign) -> None:
    training = make_training("reward_nan", 10)
    assert score_fault(training, [make_sign("rewards", check="rewards")], Severity.critical).right
    assert not score_fault(training, [make_sign("spike", check="entropy")], Severity.critical).right


def test_a_summary_counts_and_a_floor_holds(make_training: MakeTraining, make_sign: MakeSign) -> None:
    found = [judged(make_training("reward_nan", 10, seed), make_sign(told=11)) for seed in range(19)]
    missed = judged(make_training("reward_nan", 10, 19))
    quiet = [judged(make_training(seed=seed)) for seed in range(49)]
    flagged = judged(make_training(seed=49), make_sign())

    good = summarise([*found, missed, *quiet, flagged], OURS, Severity.critical)
    assert (good.recall.hits, good.recall.total) == (19, 20)
    assert (good.false_alarms.hits, good.false_alarms.total) == (1, 50)
    assert good.abrupt.value == 1
    assert good.below(Floor()) == []

    bad = summarise([*found[:18], missed, *quiet[:48], flagged], OURS, Severity.critical)
    assert [text.partition(" ")[0] for text in bad.below(Floor())] == ["recall", "false"]


def test_late_finds_break_the_floor(make_training: MakeTraining, make_sign: MakeSign) -> None:
    late = [judged(make_training("reward_nan", 10), make_sign(told=14)), judged(make_training())]
    (below,) = summarise(late, OURS, Severity.critical).below(Floor())
    assert "median delay 4" in below


def test_rows_by_fault_and_by_source(make_training: MakeTraining, make_sign: MakeSign) -> None:
    trainings = [
        judged(make_training("reward_nan", 10, 0), make_sign("a"), make_sign("b", told=12)),
        judged(make_training("reward_nan", 10, 1), make_sign("b")),
        judged(make_training("weights_nan", 10, 0)),
        judged(make_training(), make_sign("b")),
    ]
    summary = summarise(trainings, OURS, Severity.critical)
    rows = {row.fault: row for row in by_fault(summary)}
    assert (rows["reward_nan"].recall.hits, rows["weights_nan"].recall.hits) == (2, 0)
    assert dict(rows["reward_nan"].by) == {"a": 1, "b": 1}
    sources = {row.source: (row.found, row.first, row.alone, row.false_alarms) for row in by_source(summary)}
    assert sources == {"a": (1, 1, 0, 0), "b": (2, 1, 1, 1)}


def test_ablation_says_what_only_one_source_finds_and_what_it_finds_sooner(
    make_training: MakeTraining, make_sign: MakeSign
) -> None:
    trainings = [
        judged(make_training("reward_nan", 10, 0), make_sign("rewards")),
        judged(make_training("reward_nan", 10, 1), make_sign("rewards"), make_sign("learning", told=30)),
        judged(make_training()),
    ]
    rows = {row.source: row for row in ablate(trainings, Severity.critical)}
    assert ([score.seed for score in rows["rewards"].lost], [score.seed for score in rows["rewards"].later]) == (
        [0],
        [1],
    )
    assert not rows["learning"].earns_its_place
    assert not rows["non-finite"].earns_its_place
