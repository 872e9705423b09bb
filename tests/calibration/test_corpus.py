"""Real logs: each is read, and the labelled ones give the score that the detectors had when they were last changed.

The logs may not be passed on, so the tests run only where `RLHF_ASSERT_CORPUS` names the folder that holds them:
`INDEX.csv` (id, family, repo, LABEL), `<family>/<id>.jsonl`, and `faults/`.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean

import pytest

from rlhf_assert.judging.detection import Detection
from rlhf_assert.judging.pool import judge_all

CORPUS = Path(os.environ.get("RLHF_ASSERT_CORPUS", ""))
FLOORS = {"false alarms at warning": 0.05, "recall at warning": 0.95, "false alarms at critical": 0.01}
"""Measured: .00, 1.00 and .00, each repository weighing the same. The detectors were shaped with these logs in view."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("RLHF_ASSERT_CORPUS"), reason="RLHF_ASSERT_CORPUS names no folder of real logs"
)


@pytest.fixture(scope="module")
def judged():
    index = list(csv.DictReader((CORPUS / "INDEX.csv").read_text(encoding="utf-8").splitlines()))
    paths = [str(CORPUS / row["family"] / f"{row['id']}.jsonl") for row in index]
    return list(zip(index, judge_all(paths, None, Detection(), alone=False), strict=True))


def share(judged, severities, *, healthy):
    """Return the share of runs with a finding, each repository weighing the same."""
    found = defaultdict(list)
    for row, (answer, *_) in judged:
        wanted = row["LABEL"] == "healthy" if healthy else row["LABEL"].startswith("anom")
        if wanted and row["family"] != "sft":
            found[row["repo"]].append(any(one["severity"] in severities for one in answer.findings))
    return mean(mean(flags) for flags in found.values())


def test_every_log_is_read(judged):
    assert {row["id"]: answers[0].error for row, answers in judged if answers[0].error} == {}
    assert all(len(answers) == 1 for _, answers in judged)


def test_the_score_holds(judged):
    assert share(judged, {"warning", "critical"}, healthy=True) <= FLOORS["false alarms at warning"]
    assert share(judged, {"warning", "critical"}, healthy=False) >= FLOORS["recall at warning"]
    assert share(judged, {"critical"}, healthy=True) <= FLOORS["false alarms at critical"]
