"""Simulated training curves on which nothing is wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from rlhf_assert.detect import Severity, default_detectors, discover
from rlhf_assert.run import Row

POSITIVE = {
    "grad_norm": 0.7,
    "value_loss": 0.3,
    "kl_div": 0.05,
    "entropy": 2.5,
    "response_length": 60.0,
    "reward_std": 0.2,
}
SIGNED = {"loss": 0.1, "reward": 1.0, "policy_loss": 0.05}


def _iid(noise: random.Random, steps: int) -> Callable[[int], float]:
    return lambda step: noise.gauss(0.0, 1.0)


def _autocorrelated(noise: random.Random, steps: int) -> Callable[[int], float]:
    state = noise.gauss(0.0, 1.0)

    def draw(step: int) -> float:
        nonlocal state
        state = 0.7 * state + math.sqrt(1 - 0.49) * noise.gauss(0.0, 1.0)
        return state

    return draw


def _heavy(noise: random.Random, steps: int) -> Callable[[int], float]:
    """Student's t with 3 degrees of freedom, at unit variance."""
    return lambda step: noise.gauss(0.0, 1.0) / math.sqrt(noise.gammavariate(1.5, 2.0))


def _skewed(noise: random.Random, steps: int) -> Callable[[int], float]:
    """Lognormal with sigma 1, centred, at unit variance."""
    return lambda step: (noise.lognormvariate(0.0, 1.0) - 1.6487) / 2.1612


def _discrete(noise: random.Random, steps: int) -> Callable[[int], float]:
    """Means of 8 outcomes that are 0 or 1."""
    return lambda step: (sum(noise.random() < 0.5 for _ in range(8)) - 4) / math.sqrt(2.0)


def _trending(noise: random.Random, steps: int) -> Callable[[int], float]:
    """A drift of up to 3 standard deviations over the run."""
    slope = noise.uniform(-3.0, 3.0) / steps
    return lambda step: slope * step + noise.gauss(0.0, 1.0)


def _walk(noise: random.Random, steps: int) -> Callable[[int], float]:
    """A random walk, which no detector can tell from a real loss of level: reported, not gated."""
    state = 0.0

    def draw(step: int) -> float:
        nonlocal state
        state += 0.2 * noise.gauss(0.0, 1.0)
        return state

    return draw


SHAPES = {
    "iid": _iid,
    "ar(.7)": _autocorrelated,
    "t3": _heavy,
    "lognormal": _skewed,
    "discrete": _discrete,
    "trending": _trending,
    "random-walk": _walk,
}


def simulate(shape: str, steps: int, seed: int) -> list[Row]:
    """Rows of 9 metrics: signed ones around their level, positive ones with a noise of 20 %, always above 0."""
    noise = random.Random(f"{shape} {seed}")
    draws = {name: SHAPES[shape](noise, steps) for name in (*POSITIVE, *SIGNED)}
    rows = []
    for step in range(1, steps + 1):
        row: dict[str, float | None] = {}
        for name, level in POSITIVE.items():
            draw = 0.2 * draws[name](step)
            row[name] = level * (1.0 + draw if draw > 0 else math.exp(draw))
        for name, level in SIGNED.items():
            row[name] = level * (0.5 + 0.3 * draws[name](step))
        row["learning_rate"] = 1e-3 * (1 - step / (steps + 1))
        row["zero_std_fraction"] = noise.choice([0.0, 0.0, 0.125, 0.25])
        row["truncated_fraction"] = 0.0
        if step == 1:
            row["kl_div"] = 0.0
        rows.append(Row(step, None, row))
    return rows


@pytest.fixture(scope="session")
def shapes() -> tuple[str, ...]:
    return tuple(SHAPES)


@pytest.fixture(scope="session")
def false_alarms() -> Callable[[str, int, int], dict[str, float]]:
    """Return a function (shape, steps, runs) -> share of runs with an alarm at warning or above, and at critical."""

    def measure(shape: str, steps: int, runs: int) -> dict[str, float]:
        warned = critical = 0
        for seed in range(runs):
            detectors = default_detectors("grpo", {"beta": 0.04})
            worst = max((a.severity for a in discover(simulate(shape, steps, seed), detectors)), default=Severity.info)
            warned += worst >= Severity.warning
            critical += worst >= Severity.critical
        return {"warning": round(warned / runs, 4), "critical": round(critical / runs, 4)}

    return measure
