"""Feeding rows to one detector, and a run in which all is well."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

import pytest

from rlhf_assert.detect import Anomaly, Detector
from rlhf_assert.detect.scan import Stream, discover
from rlhf_assert.recording.run import Row

Find = Callable[..., list[Anomaly]]


@pytest.fixture(scope="session")
def find() -> Find:
    """Return a function that feeds rows (steps count from `first`) to a detector and returns what it finds."""

    def feed(detector: Detector, rows: Iterable[Mapping[str, float | None]], first: int = 1) -> list[Anomaly]:
        stream = Stream([detector])
        anomalies = list(discover([Row(step, None, dict(row)) for step, row in enumerate(rows, first)], stream))
        assert not stream.failed
        return anomalies

    return feed


@pytest.fixture
def sound() -> list[dict[str, float | None]]:
    """Sixty rows of GRPO that learns."""
    noise = random.Random(0)
    return [
        {
            "loss": noise.gauss(0, 0.1),
            "grad_norm": noise.uniform(0.5, 1.0),
            "learning_rate": 1e-3 * (1 - step / 60),
            "kl_div": 0.0 if step == 0 else 0.003 * step * noise.uniform(0.8, 1.2),
            "entropy": 2.5 - 0.01 * step + noise.gauss(0, 0.05),
            "reward": 0.2 + 0.005 * step + noise.gauss(0, 0.05),
            "reward_std": noise.uniform(0.1, 0.3),
            "zero_std_fraction": 0.0,
            "truncated_fraction": 0.0,
        }
        for step in range(60)
    ]
