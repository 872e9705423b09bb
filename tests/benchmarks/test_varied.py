"""The rule that calls a training healthy in the benchmarks, and the configurations that they draw."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rlhf_assert.recording.events import Evaluation
from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import Series
from rlhf_assert.training.python_file import load_module

FOLDER = Path(__file__).parents[2] / "benchmarks" / "varied"
if not FOLDER.is_dir():
    pytest.skip("a source distribution holds no benchmarks", allow_module_level=True)

configurations = load_module(FOLDER / "configurations.py")
health = load_module(FOLDER / "health.py")

STEPS, BATCH = 20, 8
NUMBERS = range(200)


def generated(
    *, gain: float = 0.4, divergence: float = 0.2, texts: int = BATCH, length: float = 6.0, samples: int = STEPS * BATCH
) -> SimpleNamespace:
    """A run whose first steps are those of a warm start, and whose second half is as told."""
    noise = np.random.default_rng(0)
    step = np.repeat(np.arange(STEPS), BATCH)[:samples]
    late = step >= STEPS // 2
    reward = 0.3 + gain * late + noise.normal(0.0, 0.05, len(step))
    ids = np.where(late, np.arange(len(step)) % texts, np.arange(len(step)) % BATCH)
    return SimpleNamespace(
        status="completed",
        info={},
        events=(),
        series={"reward": Series("reward", step, reward)},
        samples=Samples(
            step=step,
            prompt=np.full(len(step), "p"),
            length=np.where(late, length, 6.0),
            truncated=np.zeros(len(step)),
            reward=reward,
            rewards={},
            advantage=reward,
            value=np.full(len(step), np.nan),
            returns=np.full(len(step), np.nan),
            logprob=np.where(late, divergence, 0.0) - 2.0,
            ref_logprob=np.full(len(step), -2.0),
            text=tuple(f"cat {index}" for index in ids),
        ),
    )


def evaluated(*losses: float) -> SimpleNamespace:
    run = generated(samples=0)
    run.events = tuple(Evaluation(metrics={"eval_loss": loss}) for loss in losses)
    return run


@pytest.mark.parametrize("changes", [{}, {"gain": 0.0}, {"divergence": 1.2}, {"length": 9.0}, {"texts": 5}])
def test_a_training_that_learns_or_stays_where_it_was_is_healthy(changes):
    assert health.unhealthy(generated(**changes)) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"gain": -0.2}, "reward 0.297 to 0.0916"),
        ({"divergence": 3.0}, "3.00 nats per token"),
        ({"texts": 2}, "25% of the last completions"),
        ({"length": 20.0}, "3.33 times as long"),
        ({"length": 2.0}, "0.33 times as long"),
    ],
)
def test_a_training_that_loses_what_it_had_is_not(changes, reason):
    assert reason in health.unhealthy(generated(**changes))


def test_neither_is_one_that_crashed_or_logged_a_number_that_is_not_finite():
    crashed = generated()
    crashed.status, crashed.info = "crashed", {"error": {"type": "ValueError", "message": "no"}}
    assert health.unhealthy(crashed) == "crashed: ValueError no"
    run = generated()
    run.series["kl_div"] = Series("kl_div", np.arange(2), np.array([0.0, np.nan]))
    assert health.unhealthy(run) == "kl_div is not finite"


@pytest.mark.parametrize("losses", [(0.69, 0.5, 0.3), (0.69, 0.3, 0.4)])
def test_examples_that_are_learnt_and_kept_are_healthy(losses):
    assert health.unhealthy(evaluated(*losses)) == ""


@pytest.mark.parametrize("losses", [(0.69, 0.7, 0.8), (0.69, 0.1, 0.5), (0.69, 0.69, 0.69), (0.69,)])
def test_examples_that_are_not_learnt_or_forgotten_are_not(losses):
    assert health.unhealthy(evaluated(*losses)) != ""


@pytest.mark.parametrize("algorithm", configurations.ALGORITHMS)
def test_configurations_repeat_and_are_sensible(algorithm):
    drawn = [configurations.draw(algorithm, number) for number in NUMBERS]
    assert drawn == [configurations.draw(algorithm, number) for number in NUMBERS]
    usual = configurations.LEARNING_RATES[algorithm]
    for configuration in drawn:
        arguments = configuration.arguments
        assert 10 <= configuration.steps <= 150
        assert usual / 3 <= arguments["learning_rate"] <= usual * 3
        assert arguments["per_device_train_batch_size"] % arguments.get("num_generations", 1) == 0
    assert {configuration.arguments["logging_steps"] for configuration in drawn} == {1, 2, 5, 10}
