"""The average of the weights is seen to move when it should not, and only then."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert_openrlhf.inside.average import AverageWatch

torch = pytest.importorskip("torch")


@pytest.fixture
def feed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RLHF_ASSERT_FEED", str(tmp_path / "feed.jsonl"))
    return tmp_path / "feed.jsonl"


def model(seed: int) -> Any:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.LayerNorm(16)).bfloat16()


def update(watch: AverageWatch, policy: Any, average: Any, beta: float) -> None:
    """What OpenRLHF does after an update of the policy, in its own words."""
    before = watch.before(average)
    for one, other in zip(policy.parameters(), average.parameters(), strict=True):
        other.data.copy_((1 - beta) * one.data + beta * other.data)
    watch.after(policy, average, before, 0.9)


def told(feed: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in feed.read_text().splitlines()] if feed.exists() else []


def test_a_sound_average_is_quiet(feed: Path) -> None:
    watch, policy, average = AverageWatch(), model(0), model(0)
    for seed in range(30):
        for one, other in zip(policy.parameters(), model(seed).parameters(), strict=True):
            one.data += 0.1 * other.data
        update(watch, policy, average, 0.9)
    before = watch.before(average)
    watch.after(policy, average, before, 0.9)  # within an accumulation of gradients nothing is averaged
    assert told(feed) == []


def test_an_average_that_is_written_to_is_told(feed: Path) -> None:
    watch, policy, average = AverageWatch(), model(0), model(1)
    update(watch, policy, average, 0.9)
    average[0].weight.data += 0.01
    update(watch, policy, average, 0.9)
    (line,) = told(feed)
    assert (line["kind"], line["name"]) == ("within", "average_moved")
    assert line["fields"]["reason"] == "changed between two updates of the policy"


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_an_average_of_another_coefficient_is_told(feed: Path, beta: float) -> None:
    update(AverageWatch(), model(0), model(1), beta)
    assert told(feed)[0]["fields"]["reason"] == "is not what a beta of 0.9 makes of it and the policy"
