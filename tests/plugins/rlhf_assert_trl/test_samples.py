from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from rlhf_assert.recording.events import SamplesUnavailable
from rlhf_assert.recording.run import Run, Samples
from rlhf_assert_trl.context import Context

pytestmark = pytest.mark.training
Watch = Callable[..., Run]
Build = Callable[..., Any]


def means(samples: Samples, values: Any) -> np.ndarray[Any, Any]:
    """Return the mean of each step's samples."""
    return np.array([values[samples.step == step].mean() for step in np.unique(samples.step)])


def agree(run: Run, key: str, values: Any) -> None:
    np.testing.assert_allclose(means(run.samples, values), run.original[key].values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_group_samples_agree_with_the_trainers_own_means(build: Build, watch: Watch, algorithm: str) -> None:
    run = watch(build(algorithm))
    samples = run.samples

    assert len(samples) == 6 * 16
    assert np.unique(samples.step).tolist() == [1, 2, 3, 4, 5, 6]
    agree(run, "reward", samples.reward)
    agree(run, "rewards/animal_share/mean", samples.rewards["animal_share"])
    agree(run, "completions/mean_length", samples.length)
    agree(run, "completions/clipped_ratio", samples.truncated)
    agree(run, "advantage", samples.advantage)
    groups = [samples.prompt[samples.step == 1][start : start + 4] for start in range(0, 16, 4)]
    assert all(len(set(group)) == 1 for group in groups)
    assert len({group[0] for group in groups}) == 4
    assert np.mean([text.endswith(".") for text in samples.text]) > 0.8


def test_rloo_log_probabilities_make_up_the_trainers_kl(build: Build, watch: Watch) -> None:
    run = watch(build("rloo"))
    samples = run.samples

    summed = means(samples, (samples.logprob - samples.ref_logprob) * samples.length)
    np.testing.assert_allclose(summed / means(samples, samples.length), run["kl_div"].values, rtol=1e-3, atol=1e-5)
    assert run["kl_div"].last != 0.0


def test_grpo_log_probabilities_belong_to_their_samples(build: Build, watch: Watch, context: Context) -> None:
    """GRPO shuffles the batch before the loss; a wrong join would pair one sample's policy with another's reference."""
    run = watch(build("grpo", gradient_accumulation_steps=2))
    samples = run.samples

    assert len(samples) == 6 * 32
    assert np.isfinite(samples.logprob).all()
    first = samples.step == 1
    np.testing.assert_allclose(samples.logprob[first], samples.ref_logprob[first], atol=1e-5)
    later = ~first
    assert np.corrcoef(samples.logprob[later], samples.ref_logprob[later])[0, 1] > 0.9
    assert (samples.logprob[later] != samples.ref_logprob[later]).all()


def test_reused_generations_are_recorded_once(build: Build, watch: Watch) -> None:
    run = watch(build("grpo", num_iterations=2))

    assert np.unique(run.samples.step).tolist() == [1, 3, 5]
    assert np.isfinite(run.samples.logprob).all()


def test_ppo_samples_agree_with_the_trainers_own_means(build: Build, watch: Watch) -> None:
    run = watch(build("ppo"))
    samples = run.samples

    assert len(samples) == 6 * 16
    agree(run, "objective/scores", samples.reward)
    agree(run, "objective/kl", (samples.logprob - samples.ref_logprob) * samples.length)
    agree(run, "objective/entropy", -samples.logprob * samples.length)
    agree(run, "val/num_eos_tokens", 16 * (1 - samples.truncated))
    assert np.isfinite(samples.advantage).all()
    assert set(samples.rewards) == {"animal_share"}
    assert np.mean([text.endswith(".") for text in samples.text]) > 0.8


def test_online_dpo_samples_agree_with_the_trainers_own_means(build: Build, watch: Watch) -> None:
    run = watch(build("online-dpo"))
    samples = run.samples

    assert len(samples) == 6 * 16
    agree(run, "objective/scores", samples.reward)
    agree(run, "val/contain_eos_token", 1 - samples.truncated)
    summed = (samples.logprob * samples.length).reshape(6, 2, 8)
    rewards = samples.reward.reshape(6, 2, 8)
    chosen = np.where(rewards[:, 0] >= rewards[:, 1], summed[:, 0], summed[:, 1]).mean(1)
    np.testing.assert_allclose(chosen, run.original["logps/chosen"].values, rtol=1e-4)
    prompts = samples.prompt.reshape(6, 2, 8)
    assert (prompts[:, 0] == prompts[:, 1]).all()
    np.testing.assert_allclose(
        run["kl_div"].values, means(samples, (samples.logprob - samples.ref_logprob) * samples.length)
    )


@pytest.mark.parametrize("algorithm", ["grpo", "rloo", "online-dpo"])
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_lost_reward_survives_into_the_samples(build: Build, watch: Watch, algorithm: str, missing: Any) -> None:
    def lossy(completions: Sequence[str], **_: Any) -> list[float | None]:
        return [missing, *(float(len(text)) for text in completions[1:])]

    samples = watch(build(algorithm, reward=lossy)).samples

    lost = np.isnan(samples.reward)
    assert lost.sum() == 6
    assert np.isnan(samples.rewards["lossy"]).sum() == 6
    assert all(lost[samples.step == step][0] for step in range(1, 7))


def test_several_reward_functions_are_told_apart(build: Build, watch: Watch) -> None:
    def length(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(len(text)) for text in completions]

    def dots(completions: Sequence[str], **_: Any) -> list[float]:
        return [float(text.count(".")) for text in completions]

    samples = watch(build("grpo", reward=[length, dots], reward_weights=[0.5, 2.0])).samples

    np.testing.assert_allclose(samples.reward, 0.5 * samples.rewards["length"] + 2.0 * samples.rewards["dots"])
    assert samples.rewards["length"].tolist() == [len(text) for text in samples.text]


@pytest.mark.parametrize("algorithm", ["grpo", "online-dpo"])
def test_the_trainer_is_left_as_it_was(build: Build, watch: Watch, algorithm: str) -> None:
    trainer = build(algorithm)
    attributes, functions = set(vars(trainer)), list(trainer.reward_funcs)
    watch(trainer)

    assert {name for name in vars(trainer) if callable(getattr(type(trainer), name, None))} == {
        name for name in attributes if callable(getattr(type(trainer), name, None))
    }
    assert trainer.reward_funcs == functions


def test_a_trainer_that_moved_something_trains_on_without_samples(build: Build, watch: Watch) -> None:
    trainer = build("grpo")
    trainer._logs["advantages"] = Forgetful()

    run = watch(trainer)

    assert run.status == "completed"
    assert len(run.rows) == 6
    assert len(run.samples) == 0
    (event,) = run.events_of(SamplesUnavailable)
    assert "TypeError" in event.reason


class Forgetful:
    """Takes advantages as a deque does, and gives none back."""

    def extend(self, values: Sequence[float]) -> None:
        pass


def test_samples_can_be_left_out(build: Build, watch: Watch) -> None:
    run = watch(build("grpo"), samples=False)

    assert len(run.samples) == 0
    assert "advantage" not in run.series
