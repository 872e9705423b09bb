"""Simulated training curves on which nothing is wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from rlhf_assert.detect import Severity, default_detectors, discover
from rlhf_assert.recording.rows import Column, ColumnRows, Row

POSITIVE = {
    "grad_norm": 0.7,
    "value_loss": 0.3,
    "kl_div": 0.05,
    "entropy": 2.5,
    "response_length": 60.0,
    "reward_std": 0.2,
    "rollout_kl": 0.01,
}
SIGNED = {"loss": 0.1, "reward": 1.0, "policy_loss": 0.05, "explained_variance": 1.0}


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


def simulate(shape: str, steps: int, seed: int, rewards: str = "signed") -> list[Row]:
    """Rows of 14 metrics: signed ones around their level, positive ones with a noise of 20 %, always above 0.

    `rewards` is a key of `REWARDS`. With `learning` the reward rises by 10 standard deviations and then stays, while
    entropy falls to 30 % and KL rises tenfold, as in a training that works.
    """
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
        share = min(1.0, 3.0 * step / steps)
        row["reward"] = REWARDS[rewards](float(row["reward"] or 0.0), share, noise)
        if rewards == "huge":
            row["reward_std"] = 1000.0 * POSITIVE["reward_std"]
        if rewards == "learning":
            row["entropy"] = (row["entropy"] or 0.0) * (1.0 - 0.7 * share)
            row["kl_div"] = (row["kl_div"] or 0.0) * (0.2 + 9.0 * step / steps)
        if step == 1:
            row["kl_div"] = 0.0
        rows.append(Row(step, None, row))
    return rows


def as_columns(rows: list[Row]) -> ColumnRows:
    """Return the same rows as columns, which detectors take in blocks, several times as fast."""
    numbers = np.arange(len(rows), dtype=np.int32)
    columns = {
        name: Column(numbers, np.array([row.metrics[name] for row in rows], dtype=float), numbers[:0])
        for name in rows[0].metrics
    }
    return ColumnRows(np.array([row.step for row in rows]), np.full(len(rows), np.nan), columns)


REWARDS: dict[str, Callable[[float, float, random.Random], float]] = {
    "signed": lambda value, share, noise: value - 0.5,
    "positive": lambda value, share, noise: math.exp(value - 0.5),
    "negative": lambda value, share, noise: value - 5.0,
    "huge": lambda value, share, noise: 1000.0 * value,
    "binary": lambda value, share, noise: float(noise.random() < 0.3),
    "sparse": lambda value, share, noise: float(noise.random() < 0.03),
    "learning": lambda value, share, noise: value + 3.0 * share,
}
"""Kind of reward -> its value from a draw around .5 with a standard deviation of .3, and the share of the rise done."""


@pytest.fixture(scope="session")
def kinds_of_reward() -> tuple[str, ...]:
    return tuple(REWARDS)


@pytest.fixture(scope="session")
def shapes() -> tuple[str, ...]:
    return tuple(SHAPES)


@pytest.fixture(scope="session")
def false_alarms() -> Callable[..., dict[str, float]]:
    """Return a function (shape, steps, runs, rewards) -> share of runs with a warning or worse, and with a critical."""

    def measure(shape: str, steps: int, runs: int, rewards: str = "signed") -> dict[str, float]:
        warned = critical = 0
        for seed in range(runs):
            detectors = default_detectors("grpo", {"beta": 0.04})
            worst = max(
                (a.severity for a in discover(as_columns(simulate(shape, steps, seed, rewards)), detectors)),
                default=Severity.info,
            )
            warned += worst >= Severity.warning
            critical += worst >= Severity.critical
        return {"warning": round(warned / runs, 4), "critical": round(critical / runs, 4)}

    return measure


@dataclass(frozen=True)
class Change:
    """What is planted in a reward of 1 with a noise of .1, at row 60.

    Attributes:
        shape: rows since then -> standard deviations that the reward has lost, in parts of the size.
        rows: rows of the run.
        within: rows within which it must be found.
        early: rows before it at which the finding's onset may lie.
        least: severity that counts as found.
    """

    shape: Callable[[int], float]
    rows: int
    within: int
    early: int = 5
    least: Severity = Severity.warning


CHANGES = {
    "level": Change(lambda row: float(row >= 0), 120, 10),
    "drift": Change(lambda row: min(1.0, max(0.0, row / 40)), 120, 60),
    "slow-drift": Change(lambda row: max(0.0, row / 240), 300, 240, early=60),
    "swing": Change(lambda row: min(1.0, max(0.0, row / 60)) * math.sin(row), 240, 180, early=40, least=Severity.info),
    "spike": Change(lambda row: float(row == 0), 120, 0, least=Severity.info),
}


@pytest.fixture(scope="session")
def changes() -> tuple[str, ...]:
    return tuple(CHANGES)


@pytest.fixture(scope="session")
def detection() -> Callable[[str, float, int], dict[str, float]]:
    """Return a function (change, size in standard deviations, runs) -> share of runs that found it, and median delay.

    The change is a key of `CHANGES`.
    """

    def measure(change: str, size: float, runs: int) -> dict[str, float]:
        delays, planted, place = [], CHANGES[change], 60
        for seed in range(runs):
            noise = random.Random(f"{change} {size} {seed}")
            found = None
            detectors = default_detectors("grpo", {"beta": 0.04})
            for step in range(1, planted.rows + 1):
                part = planted.shape(step - place)
                row = {"reward": 1.0 + 0.1 * (noise.gauss(0.0, 1.0) - size * part), "reward_std": 0.2}
                for detector in detectors:
                    for anomaly in detector.update(step, row):
                        counts = anomaly.severity >= planted.least and anomaly.onset >= place - planted.early
                        if found is None and counts:
                            found = step
            delays.append(math.inf if found is None else found - place)
        hits = sorted(delay for delay in delays if delay <= planted.within)
        return {
            "found": round(len(hits) / runs, 4),
            "median_delay": hits[len(hits) // 2] if hits else -1,
        }

    return measure
