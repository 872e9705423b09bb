"""The detectors together: causal, ordered, and quiet or loud on whole runs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.detect import Severity, default_detectors, discover, scan
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.scan import Stream
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.run import Row

NAMES = ["loss", "kl_div", "reward", "reward_std", "entropy", "grad_norm", "value_loss", "ratio", "zero_std_fraction"]
VALUES = st.sampled_from([0.0, 0.5, 1.0, 100.0, 1e6, math.nan, None]) | st.floats() | st.floats(0.1, 2.0)
ROWS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES), max_size=90).map(
    lambda rows: [Row(step, None, row) for step, row in enumerate(rows, 1)]
)
ALGORITHMS = st.sampled_from(["", "ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"])


@given(rows=ROWS, cut=st.integers(0, 90), algorithm=ALGORITHMS)
def test_what_a_prefix_shows_never_changes_later(rows: list[Row], cut: int, algorithm: str) -> None:
    early = list(discover(rows[:cut], default_detectors(algorithm, {"beta": 0.1})))
    whole = list(discover(rows, default_detectors(algorithm, {"beta": 0.1})))

    assert repr(whole[: len(early)]) == repr(early)
    assert all(anomaly.onset <= cut for anomaly in early)


@given(rows=ROWS)
def test_the_monitor_and_the_scan_agree(rows: list[Row]) -> None:
    monitor = Monitor()
    live = [anomaly for row in rows for anomaly in monitor.update(row.step, row.metrics)]

    stream = Stream(default_detectors())
    assert repr(live) == repr(list(discover(rows, stream)))
    assert not stream.failed
    assert not monitor.failed_detectors


@given(rows=ROWS)
def test_a_scan_is_ordered_and_names_each_finding_once(rows: list[Row]) -> None:
    found = scan(rows)

    assert [anomaly.onset for anomaly in found] == sorted(anomaly.onset for anomaly in found)
    keys = [(anomaly.kind, anomaly.metric, anomaly.onset) for anomaly in found]
    assert len(keys) == len(set(keys))


@given(rows=ROWS)
def test_every_finding_says_what_why_and_what_to_do(rows: list[Row]) -> None:
    for anomaly in scan(rows):
        assert anomaly.summary
        assert "\n" not in anomaly.summary + anomaly.remedy
        assert anomaly.remedy
        assert anomaly.causes


@pytest.mark.parametrize("algorithm", ["", "grpo", "rloo"])
def test_a_sound_run_is_quiet(sound: Any, algorithm: str) -> None:
    assert (
        scan([Row(i, None, row) for i, row in enumerate(sound, 1)], default_detectors(algorithm, {"beta": 0.04})) == ()
    )


def test_a_finding_that_grew_worse_is_there_once_in_its_last_state() -> None:
    dead = {"reward": 0.0, "reward_std": 0.0, "zero_std_fraction": 1.0}

    (found,) = scan([Row(step, None, dead) for step in range(1, 31)])

    assert (found.kind, found.severity) == ("no-learning-signal", Severity.critical)


def test_a_run_is_judged_by_its_own_algorithm_and_configuration(tmp_path: Any) -> None:
    from rlhf_assert.recording.recorder import Recorder
    from rlhf_assert.recording.run import read_run

    def severities(**info: Any) -> list[Severity]:
        recorder = Recorder(tmp_path / str(len(info)), **info)
        recorder.row(1, {"loss": 0.9, "kl": 0.5})
        recorder.finish("completed")
        return [anomaly.severity for anomaly in scan(read_run(recorder.path))]

    assert severities() == [Severity.info]
    assert severities(algorithm="dpo", config={"beta": 0.1}) == [Severity.critical, Severity.critical]


def test_detectors_can_be_chosen_and_the_threshold_set(sound: Any) -> None:
    rows = [Row(step, None, {"reward": row["reward"]}) for step, row in enumerate(sound, 1)]

    assert scan(rows, []) == ()
    assert scan(rows, default_detectors(anomaly_threshold=1.0)) != ()
    with pytest.raises(UsageError, match="anomaly-threshold = 0, but a threshold must be above 0"):
        default_detectors(anomaly_threshold=0)
