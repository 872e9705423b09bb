"""Each of our own detectors has what the battery asks of anybody's, and finds what it is there for.

What is stated of each: in which run, what it finds, how late, how near the onset, and which units it knows. A detector
that looks at several metrics is tried on healthy runs of its algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert.detect import Detector, Severity, default_detectors
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.settings import Settings
from rlhf_assert.testing.battery import Finds, check_detector
from rlhf_assert.testing.strategies import (
    anomalous,
    collapse,
    freeze,
    infinity_burst,
    logs,
    mis_scaled,
    missing_metric,
    nan_burst,
    null_burst,
    oscillation,
    saturation,
    series,
    shift,
    spike,
)
from rlhf_assert.testing.synthetic import Algorithm

Case = tuple[Algorithm, list[Finds], dict[str, Any]]


def only(name: str, algorithm: str) -> Callable[[], Detector]:
    """Return what makes one of the default detectors as a run of this algorithm has it."""

    def make() -> Detector:
        chosen = Settings(detectors={other: other == name for other in BUILT_IN})
        (detector,) = default_detectors(algorithm, {"beta": 0.04}, settings=chosen)
        return detector

    return make


def planted(algorithm: Algorithm, *changes: Any, after: int = 40, **stated: Any) -> Finds:
    """Return the claim to find changes that begin 40 rows after the start, or more, and last for 50 or more."""
    healthy = logs(algorithm, min_rows=after + 60, max_rows=after + 100)
    return Finds(logs=anomalous(healthy, *changes, after=after, room=50), **stated)


SCALE: dict[str, Any] = {"invariance": "scale"}
UNIT: dict[str, Any] = {"invariance": "none"}
STANDS: dict[str, Any] = {"fires_on_constants": True}
LONE = series("reward", min_rows=60, noisy=True, ornaments=())

CASES: dict[str, Case] = {
    "non-finite": (
        "grpo",
        [planted("grpo", burst(metric="kl_div"), delay=0) for burst in (nan_burst, infinity_burst, null_burst)],
        {},
    ),
    "step-one": (
        "grpo",
        [
            Finds(
                logs=anomalous(
                    logs("grpo", min_rows=60, max_rows=60),
                    shift((20.0, 50.0), metric="kl_div", direction="up", rows=1),
                    room=59,
                ),
                delay=0,
            )
        ],
        UNIT | STANDS,
    ),
    "no-update": ("grpo", [planted("grpo", mis_scaled(0.0, metric="learning_rate"), delay=4)], SCALE | STANDS),
    "no-variance": ("grpo", [planted("grpo", mis_scaled(0.0, metric="reward_std"), delay=20)], SCALE | STANDS),
    "lost-variance": (
        "grpo",
        [planted("grpo", mis_scaled(0.0, metric="reward_std"), delay=20, onset_within=1)],
        SCALE | STANDS,
    ),
    "contradictions": ("grpo", [planted("grpo", mis_scaled(-1.0, metric="grad_norm"), delay=0)], SCALE | STANDS),
    "frozen": ("grpo", [planted("grpo", freeze(metric="entropy"), delay=20, onset_within=1)], STANDS),
    "kl-runaway": (
        "grpo",
        [planted("grpo", mis_scaled((100.0, 1000.0), metric="kl_div"), delay=4, onset_within=5)],
        UNIT | STANDS,
    ),
    "entropy": (
        "grpo",
        [planted("grpo", mis_scaled(factor, metric="entropy"), delay=4) for factor in ((0.01, 0.05), (6.0, 20.0))],
        SCALE,
    ),
    "truncation": (
        "ppo",
        [planted("ppo", saturation((60.0, 200.0), metric="response_length"), delay=8, onset_within=1)],
        UNIT,
    ),
    "trust-region": (
        "grpo",
        [planted("grpo", mis_scaled((100.0, 1000.0), metric="approx_kl"), delay=5, onset_within=5)],
        UNIT | STANDS,
    ),
    "critic": ("ppo", [planted("ppo", mis_scaled((1e6, 1e7), metric="value_loss"), delay=20, onset_within=None)], UNIT),
    "explosion": ("ppo", [planted("ppo", mis_scaled((100.0, 1000.0), metric="value_loss"), delay=3)], SCALE),
    "preference-loss": (
        "dpo",
        [planted("dpo", mis_scaled((1e-4, 1e-3), metric="loss"), delay=20, onset_within=12)],
        UNIT,
    ),
    "preference-reversal": (
        "dpo",
        [planted("dpo", mis_scaled((-3.0, -1.0), metric="reward_margin"), after=60, delay=4, onset_within=3)],
        SCALE,
    ),
    "loss-rise": ("sft", [planted("sft", mis_scaled((2.0, 5.0), metric="loss"), delay=16, onset_within=3)], SCALE),
    "reward-collapse": (
        "grpo",
        [planted("grpo", collapse((10.0, 20.0), metric="reward"), delay=10, onset_within=3)],
        SCALE,
    ),
    "reward-below-start": (
        "grpo",
        [
            planted(
                "grpo",
                mis_scaled((0.0, 0.1), metric="reward"),
                mis_scaled((0.1, 0.4), metric="entropy"),
                delay=30,
                onset_within=None,
            )
        ],
        UNIT,
    ),
    "update-spike": (
        "grpo",
        [planted("grpo", mis_scaled((200.0, 1000.0), metric="grad_norm", rows=1), delay=0)],
        SCALE,
    ),
    "level-shift": (
        "grpo",
        [planted("grpo", shift((15.0, 30.0), metric="response_length"), delay=10, onset_within=2)],
        SCALE | {"severity": Severity.warning},
    ),
    "vanished": ("grpo", [planted("grpo", missing_metric(metric="grad_norm"), delay=20)], {}),
    "oscillation": (
        "grpo",
        [planted("grpo", oscillation((10.0, 20.0), metric="entropy"), after=110, delay=48, onset_within=None)],
        SCALE,
    ),
    "z-score": (
        "grpo",
        [Finds(logs=anomalous(LONE, spike((15.0, 40.0), rows=1), after=40, room=5), delay=0)],
        {"severity": Severity.warning},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_default_detector_has_every_property(name: str) -> None:
    algorithm, finds, stated = CASES[name]

    check_detector(
        only(name, algorithm), finds=finds, healthy=[logs(algorithm, min_rows=40, max_rows=160)], examples=15, **stated
    )


def test_every_detector_of_ours_is_tried_here_or_has_tests_of_its_own() -> None:
    # `logs` draws no rewards that are lost over hundreds of rows, no lengths that grow by half, and no rollout engine.
    tests = Path(__file__).parents[2] / "detect" / "detectors"
    own = {path.stem.removeprefix("test_").replace("_", "-") for path in tests.glob("test_*.py")}

    assert BUILT_IN.keys() - CASES.keys() - own == set()
    assert CASES.keys() <= BUILT_IN.keys()
