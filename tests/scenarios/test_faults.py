"""Faults in real trainings: each makes its scenario fail, with the right cause named; beside each a sound control."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from rlhf_assert.checked import Status
from rlhf_assert.recording.run import Run
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import scenarios_in_file
from rlhf_assert.training.request import Request
from rlhf_assert.training.scenario import Scenario
from rlhf_assert.verdict import Verdict, judge

pytestmark = pytest.mark.training

FAULTS = '''
"""GRPO and PPO as in the packaged scenarios, each with one thing wrong."""
import math
import torch
from rlhf_assert import scenario


def grpo(ctx, reward=None, **changes):
    from trl import GRPOConfig, GRPOTrainer

    arguments = {"learning_rate": 1e-3, "beta": 0.04, "num_generations": 8, "per_device_train_batch_size": 32,
                 "max_completion_length": 16, **changes}
    return GRPOTrainer(model=ctx.tiny_model(), reward_funcs=reward or ctx.reward_function,
                       train_dataset=ctx.prompts(64), processing_class=ctx.tokenizer,
                       args=GRPOConfig(**ctx.training_arguments(), **arguments))


@scenario
def sound(ctx):
    return grpo(ctx)


@scenario
def nan_reward(ctx):
    def share_of_nothing(completions, **_):
        return [math.nan for _ in completions]
    return grpo(ctx, share_of_nothing)


@scenario
def one_nan_reward(ctx):
    def now_and_then_nan(prompts, completions, **_):
        rewards = ctx.reward_function(completions)
        rewards[0] = math.nan
        return rewards
    return grpo(ctx, now_and_then_nan)


@scenario
def constant_reward(ctx):
    def always_half(completions, **_):
        return [0.5] * len(completions)
    return grpo(ctx, always_half)


@scenario
def learning_rate_times_1000(ctx):
    return grpo(ctx, learning_rate=1.0)


@scenario
def learning_rate_zero(ctx):
    return grpo(ctx, learning_rate=0.0)


@scenario
def noised_reference(ctx):
    trainer = grpo(ctx)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trainer.ref_model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    return trainer


@scenario
def raising_reward(ctx):
    calls = []
    def boom(completions, **_):
        calls.append(1)
        if len(calls) == 5:
            raise ValueError("no reward for this one")
        return ctx.reward_function(completions)
    return grpo(ctx, boom)


@scenario(requires=("trl<1.13",))
def value_head_times_100(ctx):
    from rlhf_scenarios.ppo import ppo
    from transformers import TrainerCallback

    class Scale(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 10:
                with torch.no_grad():
                    model.value_model.score.weight.mul_(100.0)

    trainer = ppo(ctx)
    trainer.add_callback(Scale())
    return trainer
'''


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scenario]:
    file = tmp_path_factory.mktemp("faults") / "faulty_scenarios.py"
    file.write_text(FAULTS)
    return scenarios_in_file(file)


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    return {}


@pytest.fixture(scope="module")
def verdict_of(
    scenarios: dict[str, Scenario], runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Verdict]]:
    folder = tmp_path_factory.mktemp("runs")
    with LocalRunner() as runner:

        def judged(name: str) -> Verdict:
            if reason := scenarios[name].unmet():
                pytest.skip(reason)
            return judge(runner.run(Request.of(scenarios[name]), folder / name))

        yield judged


def test_the_sound_control_passes(verdict_of: Callable[[str], Verdict]) -> None:
    verdict = verdict_of("sound")
    assert verdict.status is Status.PASS, verdict.failures


@pytest.mark.parametrize(
    ("fault", "check", "headline", "cause"),
    [
        ("nan-reward", "rewards", "not finite", "share_of_nothing"),
        ("one-nan-reward", "rewards", "not finite", "now_and_then_nan"),
        ("constant-reward", "rewards", "reward is constant: 0.50", "always_half"),
        ("learning-rate-times-1000", "kl", "runaway from step", "learning_rate = 1.0"),
        ("learning-rate-zero", "gradients", "no weight moved", "learning_rate is 0"),
        ("noised-reference", "kl", "at step 1", "reference"),
        ("raising-reward", "completion", "crashed", "reward function boom raised ValueError: no reward for this one"),
        ("value-head-times-100", "value_loss", "value_loss", "value"),
    ],
)
def test_a_fault_fails_with_its_cause(
    verdict_of: Callable[[str], Verdict], fault: str, check: str, headline: str, cause: str
) -> None:
    verdict = verdict_of(fault)
    assert verdict.status is Status.FAIL
    root = verdict.chains[0].root
    assert (root.name, headline in root.headline, cause in str(root.cause)) == (check, True, True), root
    assert root.remedy
    if fault != "raising-reward":
        assert verdict.run.status == "completed"
