"""A resumed training goes on where it was, or the check says what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlhf_assert import Recorder, Run, read_run
from rlhf_assert.checked import Check, Status
from rlhf_assert.checks.resume import judge_resume
from rlhf_assert.recording.events import Resume

LAST, STEPS = 12, 24


def healthy(seed: int = 0, **changes: Any) -> list[tuple[int, dict[str, float]]]:
    """Return rows of a training that learns; a keyword gives the whole column of a metric."""
    generator = np.random.default_rng(seed)
    steps = np.arange(STEPS)
    columns = {
        "learning_rate": 1e-3 * (0.55 + 0.45 * np.cos(np.pi * steps / STEPS)),
        "reward": 0.33 + 0.012 * steps + generator.normal(0.0, 0.03, STEPS),
        "kl_div": 0.002 * steps + np.abs(generator.normal(0.0, 0.002, STEPS)),
    } | changes
    return [(int(step) + 1, {name: float(column[step]) for name, column in columns.items()}) for step in steps]


def judged(path: Path, rows: Sequence[tuple[int, dict[str, float]]], last: int | None = LAST) -> Check:
    recorder = Recorder(path / "run", algorithm="grpo", config={"beta": 0.02}, learns="reward")
    for step, row in rows:
        recorder.row(step, row)
    if last is not None:
        recorder.event(Resume(step=last))
    recorder.finish("completed")
    run: Run = read_run(recorder.path)
    return judge_resume(run)


@pytest.mark.parametrize("seed", range(20))
def test_a_training_that_goes_on_passes(tmp_path: Path, seed: int) -> None:
    check = judged(tmp_path, healthy(seed))
    assert check.status is Status.PASS, check.headline
    assert check.headline == "went on after step 12"


def test_a_training_in_one_go_is_not_judged(tmp_path: Path) -> None:
    check = judged(tmp_path, healthy(), None)
    assert (check.status, check.headline) == (Status.SKIPPED, "the scenario asks for no resume")


def test_a_training_that_died_at_the_resume_is_not_judged(tmp_path: Path) -> None:
    assert judged(tmp_path, healthy()[:LAST]).status is Status.INSUFFICIENT


def test_rows_of_several_steps_are_judged(tmp_path: Path) -> None:
    assert judged(tmp_path / "whole", healthy()[4::5]).status is Status.PASS
    assert judged(tmp_path, [*healthy()[4:10:5], *healthy()[19::5]]).headline.startswith("step 11 is missing")


def half(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.concatenate([first[:LAST], second[: STEPS - LAST]])


STEADY = np.arange(STEPS, dtype=float)
RATE = 1e-3 * (0.55 + 0.45 * np.cos(np.pi * STEADY / STEPS))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([*healthy()[:LAST], *healthy()[:LAST]], "step 1 was trained twice: the resume went back from step 12"),
        ([*healthy()[:LAST], *healthy()[LAST - 1 :]], "step 12 was trained twice"),
        ([*healthy()[:LAST], *healthy()[LAST + 1 :]], "step 13 is missing: the resume went on with step 14"),
        (healthy(learning_rate=half(RATE, RATE)), "learning_rate jumps at the resume: 0.000"),
        (healthy(kl_div=half(0.002 * STEADY, 0.002 * STEADY)), "kl is 0 again after step 12: it was 0.022"),
        (healthy(reward=0.33 + 0.03 * half(STEADY, STEADY / 4)), "reward fell back at the resume: "),
    ],
    ids=["from the beginning", "one step again", "one step left out", "schedule", "weights", "reward"],
)
def test_what_a_resume_can_lose_is_told(tmp_path: Path, rows: Any, said: str) -> None:
    check = judged(tmp_path, rows)
    assert check.status is Status.FAIL
    assert check.headline.startswith(said)
    assert check.anomalies[0].onset == LAST + 1
