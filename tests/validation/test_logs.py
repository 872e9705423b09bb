"""Faults planted in the logs of healthy runs, here of made-up ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.recording.run import Run
from rlhf_assert.testing.synthetic.healthy_training import ALGORITHMS, Training
from rlhf_assert.validation.log_faults import LOG_FAULTS, plant
from rlhf_assert.validation.log_score import LogScore, idle_detectors, score_logs
from rlhf_assert.validation.signs import Sign


@pytest.fixture
def hosts(make_run: Callable[..., Run]) -> list[Run]:
    """A healthy run of each algorithm."""
    rows = {algorithm: Training(algorithm=algorithm, rows=160, seed=3).log() for algorithm in ALGORITHMS}
    runs = {
        algorithm: make_run([], algorithm=algorithm, config={"beta": 0.04}, scenario=algorithm) for algorithm in rows
    }
    return [replace(runs[algorithm], rows=rows[algorithm]) for algorithm in rows]


def test_a_fault_leaves_the_rows_before_its_onset_and_the_run_as_they_were(hosts: list[Run]) -> None:
    for host in hosts:
        before = [(row.step, dict(row.metrics)) for row in host.rows]
        for fault in LOG_FAULTS.values():
            if (planted := plant(host, fault)) is not None:
                run, onset = planted
                assert [row for row in run.rows if row.step < onset] == [row for row in host.rows if row.step < onset]
                assert [row for row in run.rows if row.step >= onset] != [row for row in host.rows if row.step >= onset]
        assert [(row.step, row.metrics) for row in host.rows] == before


def test_a_fault_is_planted_only_where_it_can_be(hosts: list[Run]) -> None:
    grpo, ppo, dpo, sft = hosts
    assert plant(sft, LOG_FAULTS["reward-lost"]) is None
    assert plant(grpo, LOG_FAULTS["loss-returns"]) is None  # the loss of a policy gradient has no level
    assert plant(ppo, LOG_FAULTS["critic-lost"]) is not None
    assert plant(dpo, LOG_FAULTS["labels-swapped"]) is not None


def test_most_are_found_and_health_counts_for_nothing(hosts: list[Run]) -> None:
    scores = score_logs(hosts)
    found = [score for score in scores if score.finders]
    assert len(found) >= 0.8 * len(scores), [score for score in scores if not score.finders]
    assert all(score.delay is not None and score.delay >= 0 for score in found)


def score(make_sign: Callable[..., Sign], **told: int) -> LogScore:
    signs = {name: make_sign(name, told=at, severity=Severity.warning) for name, at in told.items()}
    return LogScore(fault="reward-lost", scenario="grpo", onset=10, finders=signs, misdated=())


def test_what_is_lost_without_a_detector(make_sign: Callable[..., Sign]) -> None:
    first = score(make_sign, entropy=12, frozen=15)
    assert first.delay == 2
    assert (first.later_without("entropy"), first.later_without("frozen")) == (True, False)
    assert not first.missed_without("entropy")
    alone = score(make_sign, entropy=12)
    assert alone.missed_without("entropy")
    assert not alone.later_without("entropy")
    together = score(make_sign, entropy=12, frozen=12)
    assert not together.later_without("entropy")
    idle: Any = idle_detectors([first])
    assert "entropy" not in idle
    assert "frozen" in idle
