from __future__ import annotations

import orjson
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.checks.pace import find_slowdown
from rlhf_assert.checks.resource_growth import judge_resources
from rlhf_assert.recording.run import read_run


def run_of(make_run, durations, begins=True):
    """A run of steps that take so many seconds each."""
    run = make_run()
    moment, lines = 0.0, []
    for step, seconds in enumerate(durations, start=1):
        if begins:
            lines.append({"event": "step_begin", "step": step - 1, "time": moment})
        moment += seconds
        lines.append({"event": "step_end", "step": step, "time": moment})
    (run.path / "events.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return read_run(run.path)


@pytest.mark.parametrize("begins", [True, False])
def test_steps_that_become_slow(make_run, begins):
    sign = find_slowdown(run_of(make_run, [3.0, *[0.2] * 8, *[1.2] * 5], begins))
    assert sign is not None
    assert (sign.kind, sign.onset) == ("slow-steps", 10)


@pytest.mark.parametrize(
    "durations",
    [
        [3.0, *[0.2] * 20],  # the first step compiles
        [0.2, *[0.2] * 8, 2.0, 2.0, *[0.2] * 8],  # a busy moment
        [0.05, *[0.01] * 8, *[0.1] * 8],  # ten times as long, and nobody would notice
        [0.2, *[0.2 * 1.1**step for step in range(30)]],  # completions that grow
        [0.2, *[0.2, 0.9] * 4, *[1.5] * 8],  # noisy before
    ],
)
def test_a_pace_that_is_sound(make_run, durations):
    assert find_slowdown(run_of(make_run, durations)) is None


def test_the_check_tells_it(make_run):
    check = judge_resources(run_of(make_run, [0.2] * 9 + [2.0] * 5))
    assert check.status is Status.FAIL
    assert check.headline.startswith("step_time rose at step 10")
    sound = make_run(resources=[{"time": float(at), "memory_rss": 1e9} for at in range(20)], events=[])
    assert judge_resources(sound).status is Status.PASS
