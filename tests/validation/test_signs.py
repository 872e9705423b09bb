from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import Any

import orjson
import pytest

from rlhf_assert.checks.registry import checks
from rlhf_assert.detect import Severity
from rlhf_assert.detect.scan import detectors_for
from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.recording.run import Run
from rlhf_assert.validation.signs import detector_signs, every_sign
from rlhf_assert.verdict import judge, judge_by

MakeRun = Callable[..., Run]


def samples(step: int, **of_last: Any) -> list[dict[str, Any]]:
    """Eight completions of one prompt, with the rewards and advantages that a group-relative trainer gives."""
    rewards = [0.1 * index for index in range(8)]
    found = [
        {"step": step, "prompt": "p", "length": 5 + index % 3, "reward": reward, "advantage": reward - 0.35}
        for index, reward in enumerate(rewards)
    ]
    found[-1].update(of_last)
    return found


def test_a_detector_tells_at_the_row_that_completes_its_evidence(
    make_run: MakeRun, rows: list[dict[str, float | None]]
) -> None:
    rows[19]["loss"] = nan
    run = make_run(rows)
    told = [sign for sign in every_sign(run) if sign.severity is Severity.critical]
    assert [(sign.source, sign.check, sign.metric, sign.onset, sign.told) for sign in told] == [
        ("non-finite", "loss", "loss", 20, 20)
    ]


def test_what_the_detectors_tell_is_what_the_verdict_rests_on(
    make_run: MakeRun, rows: list[dict[str, float | None]]
) -> None:
    for row in rows[24:]:
        row["kl"], row["reward"], row["entropy"] = 9.0, -1.0, 0.01
    run = make_run(rows)
    told = {(sign.kind, sign.metric, sign.onset) for sign in detector_signs(run, detectors_for(run))}
    assert told
    assert told == {(found.kind, found.metric, found.onset) for found in anomalies_in(run)}
    assert all(sign.told >= sign.onset for sign in every_sign(run))


def test_one_nan_reward_in_a_batch_is_told_at_its_step_by_the_samples(
    make_run: MakeRun, rows: list[dict[str, float | None]]
) -> None:
    recorded = [sample for step in range(1, 41) for sample in samples(step, **({"reward": nan} if step == 17 else {}))]
    run = make_run(rows, samples=recorded)
    (sign,) = [sign for sign in every_sign(run) if sign.severity is Severity.critical]
    assert (sign.source, sign.kind, sign.onset, sign.told) == ("rewards", "non-finite", 17, 17)


def test_what_only_the_end_shows_is_told_at_the_end(make_run: MakeRun, rows: list[dict[str, float | None]]) -> None:
    for index, row in enumerate(rows):
        row["reward"] = 0.5 - 0.01 * index + (0.02 if index % 2 else 0.0)
    run = make_run(rows, learns="reward")
    learning = [sign for sign in every_sign(run) if sign.source == "learning"]
    assert [(sign.told, sign.onset) for sign in learning] == [(40, 40)]


def test_a_crash_is_told_where_it_ended(make_run: MakeRun, rows: list[dict[str, float | None]]) -> None:
    error = {"type": "RuntimeError", "message": "boom", "traceback": ""}
    run = make_run(rows[:12], status="crashed", error=error, steps=40)
    (sign,) = [sign for sign in every_sign(run) if sign.source == "completion"]
    assert (sign.kind, sign.told) == ("crash", 13)


def test_health_is_silent(make_run: MakeRun, rows: list[dict[str, float | None]]) -> None:
    run = make_run(rows, samples=[sample for step in range(1, 41) for sample in samples(step)])
    assert [sign for sign in every_sign(run) if sign.severity is Severity.critical] == []


@pytest.mark.parametrize("onset", [6, 21])
def test_a_check_of_the_whole_run_could_have_told_when_its_evidence_sufficed(
    make_run: MakeRun, rows: list[dict[str, float | None]], onset: int
) -> None:
    """Growing memory: not told before it grew for some samples, and not only at the end."""
    begun = 1e9
    usage = [
        {"time": begun + step, "memory_rss": 5e8 + max(0, step - onset) * 6e7, "gpu": "no GPU"} for step in range(40)
    ]
    events = [("step_end", step, {}) for step in range(1, 41)]
    run = make_run(rows, resources=usage, events=events)
    lines = (run.path / "events.jsonl").read_bytes().splitlines()
    stamped = [orjson.dumps({**orjson.loads(line), "time": begun + at}) for at, line in enumerate(lines)]
    (run.path / "events.jsonl").write_bytes(b"\n".join(stamped) + b"\n")
    found = [sign for sign in every_sign(run) if sign.source == "resources"]
    assert found
    assert all(onset < sign.told < 40 for sign in found)


def test_a_check_that_is_asked_alone_says_what_it_says_among_all(make_run: Callable[..., Run]) -> None:
    run = make_run([{"reward": 0.1 + 0.01 * step, "kl": 0.01, "grad_norm": 0.5} for step in range(20)])
    together = {check.name: (check.status, check.anomalies) for check in judge(run).checks}
    for spec in checks():
        if spec.name in together:
            (alone,) = judge_by(run, [spec]).checks
            assert (alone.name, alone.status, alone.anomalies) == (spec.name, *together[spec.name])
