"""Trainings that go wrong as trainings do: by their learning rate, their reward, their data or their critic.

Nothing is planted into a log. Each trouble changes what a sound configuration trains with, or acts on the trainer in
the middle of the run, and the curves follow. A scenario for each trouble and algorithm, its seed being a number from
which the configuration follows.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from configurations import ALGORITHMS, LOGGING_STEPS, Configuration, draw
from trainers import TIME_LIMIT, Parts, build, examples, parts_of

from rlhf_assert import Scenario

if TYPE_CHECKING:
    from rlhf_assert_trl.context import Context

Reward = Callable[..., list[float]]

GENERATING = ("ppo", "grpo", "rloo", "online-dpo")
PAIRS = ("dpo", "reward")
LABELLED = (*PAIRS, "kto")
STEPS = (20, 30, 50, 80, 120, 200)
FEWEST_ROWS = 10


@dataclass(slots=True)
class Draft:
    """A trainer before it is built.

    Attributes:
        ctx: the scenario's context.
        configuration: with `arguments` that may be changed in place.
        parts: what the trainer is built of.
        at_step: called with the trainer and the number of steps that are done, after each step.
    """

    ctx: Context
    configuration: Configuration
    parts: Parts
    at_step: list[Callable[[Any, int], None]] = field(default_factory=list)

    @property
    def arguments(self) -> dict[str, Any]:
        return self.configuration.arguments

    @property
    def middle(self) -> int:
        return self.ctx.steps // 2

    def reward(self, function: Callable[[list[str], Reward], list[float]]) -> None:
        """Replace the reward; `function` gets the completions and the sound reward."""
        sound = self.parts.rewards

        def reward(completions: list[str], **_: Any) -> list[float]:
            return function(completions, sound)

        self.parts = replace(self.parts, rewards=reward)

    def passed_middle(self) -> Callable[[], bool]:
        """Return a function that tells whether half of the steps are done."""
        done = [0]
        self.at_step.append(lambda _, step: done.__setitem__(0, step))
        return lambda: done[0] >= self.middle

    def rows(self, change: Callable[[int, dict[str, Any], random.Random], dict[str, Any]], *, ordered: bool) -> None:
        """Change rows of the data; `ordered` trains on each once, in their order."""
        from datasets import Dataset

        generator = random.Random(self.ctx.seed)
        if ordered:
            self.arguments["train_sampling_strategy"] = "sequential"
            count = self.ctx.steps * self.batch
            self.parts = replace(self.parts, data=examples(self.ctx, self.configuration.algorithm, count))
        changed = [change(index, dict(row), generator) for index, row in enumerate(self.parts.data)]
        self.parts = replace(self.parts, data=Dataset.from_list(changed))

    @property
    def batch(self) -> int:
        return self.arguments["per_device_train_batch_size"] * self.arguments["gradient_accumulation_steps"]


def learning_rate(factor: float, **others: Any) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        draft.arguments["learning_rate"] *= factor
        draft.arguments.update({"warmup_steps": 0, "lr_scheduler_type": "constant", **others})

    return change


def learning_rate_in_the_middle(factor: float, steps: int | None) -> Callable[[Draft], None]:
    """Multiply the optimizer's rate for some steps, or from the middle on; the logged one is the schedule's."""

    def change(draft: Draft) -> None:
        draft.arguments.update({"warmup_steps": 0, "lr_scheduler_type": "constant"})

        def act(trainer: Any, step: int) -> None:
            if step >= draft.middle and (steps is None or step < draft.middle + steps):
                for group in trainer.optimizer.param_groups:
                    group["lr"] = draft.arguments["learning_rate"] * factor

        draft.at_step.append(act)

    return change


def constant_reward(draft: Draft) -> None:
    draft.reward(lambda completions, _: [0.5] * len(completions))


def random_reward(draft: Draft) -> None:
    generator = random.Random(draft.ctx.seed)
    draft.reward(lambda completions, _: [generator.random() for _ in completions])


def length_reward(draft: Draft) -> None:
    draft.arguments["learning_rate"] *= 2.0
    draft.reward(lambda completions, _: [0.1 * len(text.split()) for text in completions])


def from_the_middle(broken: Callable[[float], float]) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        passed = draft.passed_middle()

        def reward(completions: list[str], sound: Reward) -> list[float]:
            values = sound(completions=completions)
            return [broken(value) for value in values] if passed() else values

        draft.reward(reward)

    return change


def no_sampling(draft: Draft) -> None:
    draft.arguments["temperature"] = 1e-3


def no_penalty(draft: Draft) -> None:
    name = "kl_coef" if draft.configuration.algorithm == "ppo" else "beta"
    draft.arguments[name] = 0.0 if draft.configuration.algorithm == "ppo" else 1e-8  # 0 turns the logging off
    learning_rate(8.0)(draft)


def off_policy(draft: Draft) -> None:
    draft.arguments.update({"num_ppo_epochs": 20, "cliprange": 5.0})
    draft.arguments["learning_rate"] *= 3.0


def critic_from_noise(draft: Draft) -> None:
    """Overwrite the value head again and again from the middle on, as a broken restore or a wrong slice does."""
    import torch

    def act(trainer: Any, step: int) -> None:
        if step >= draft.middle and (step - draft.middle) % 4 == 0:
            with torch.no_grad():
                trainer.model.value_model.score.weight.normal_(0.0, 5.0)

    draft.at_step.append(act)


def critic_too_fast(draft: Draft) -> None:
    """Train the critic with a loss that weighs 1,000 times more, without any clipping of its change, at a high rate."""
    draft.arguments.update({"vf_coef": 1e3, "cliprange_value": 1e3, "gamma": 1.0})
    draft.arguments["learning_rate"] *= 10.0


def swapped(row: dict[str, Any]) -> dict[str, Any]:
    if "label" in row:
        return row | {"label": not row["label"]}
    return row | {"chosen": row["rejected"], "rejected": row["chosen"]}


def label_noise(share: float) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        draft.rows(lambda _, row, pick: swapped(row) if pick.random() < share else row, ordered=False)

    return change


def swapped_from_the_middle(draft: Draft) -> None:
    start = draft.middle * draft.batch
    draft.rows(lambda index, row, _: swapped(row) if index >= start else row, ordered=True)


def same_answers(draft: Draft) -> None:
    draft.rows(lambda _, row, __: row | {"rejected": row["chosen"]}, ordered=False)


def noise_from_the_middle(draft: Draft) -> None:
    start = draft.middle * draft.batch

    def change(index: int, row: dict[str, Any], pick: random.Random) -> dict[str, Any]:
        noise = " " + "".join(pick.choices("qxzjkvw#%&", k=20))
        return row | {"completion": noise} if index >= start else row

    draft.rows(change, ordered=True)


def few_examples(draft: Draft) -> None:
    draft.parts = replace(draft.parts, data=draft.parts.data.select(range(8)))
    learning_rate(5.0)(draft)


def penalty(value: float) -> Callable[[Draft], None]:
    def change(draft: Draft) -> None:
        draft.arguments["beta"] = value

    return change


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong.

    Attributes:
        change: makes a sound draft a bad one.
        algorithms: those that can have it.
        detectable: whether the logged curves can show it to somebody who has no sound run to compare with.
        always: whether the run is sick whatever becomes of it; otherwise only if it does not pass for healthy.
        from_middle: whether it begins after half of the steps.
    """

    change: Callable[[Draft], None]
    algorithms: tuple[str, ...] = ALGORITHMS
    detectable: bool = True
    always: bool = False
    from_middle: bool = False


TROUBLES = {
    "rate-x30": Trouble(learning_rate(30.0)),
    "rate-x100": Trouble(learning_rate(100.0)),
    "rate-0": Trouble(learning_rate(0.0), always=True),
    "rate-too-low": Trouble(learning_rate(1e-5), detectable=False),
    "rate-spike": Trouble(learning_rate_in_the_middle(100.0, 3), from_middle=True),
    "rate-jump": Trouble(learning_rate_in_the_middle(50.0, None), from_middle=True),
    "no-penalty": Trouble(no_penalty, GENERATING),
    "constant-reward": Trouble(constant_reward, GENERATING, always=True),
    "random-reward": Trouble(random_reward, GENERATING, detectable=False),
    "length-reward": Trouble(length_reward, GENERATING),
    "reward-x100": Trouble(from_the_middle(lambda value: 100.0 * value), GENERATING, from_middle=True, always=True),
    "reward-negated": Trouble(from_the_middle(lambda value: -value), GENERATING, from_middle=True, always=True),
    "reward-lost": Trouble(from_the_middle(lambda _: 0.0), GENERATING, from_middle=True, always=True),
    "no-sampling": Trouble(no_sampling, GENERATING, always=True),
    "off-policy": Trouble(off_policy, ("ppo",)),
    "critic-noise": Trouble(critic_from_noise, ("ppo",), from_middle=True, always=True),
    "critic-too-fast": Trouble(critic_too_fast, ("ppo",)),
    "label-noise-30": Trouble(label_noise(0.3), LABELLED, detectable=False),
    "label-noise-50": Trouble(label_noise(0.5), LABELLED, detectable=False),
    "labels-swapped": Trouble(swapped_from_the_middle, LABELLED, from_middle=True, always=True),
    "same-answers": Trouble(same_answers, PAIRS, always=True),
    "few-examples": Trouble(few_examples, (*LABELLED, "sft")),
    "beta-100": Trouble(penalty(100.0), ("dpo", "kto")),
    "beta-1e-5": Trouble(penalty(1e-5), ("dpo", "kto"), always=True),
    "noise-data": Trouble(noise_from_the_middle, ("sft",), from_middle=True, always=True),
}


def configuration_of(name: str, algorithm: str, number: int) -> Configuration:
    """Return the sound configuration that a trouble spoils: of 20 to 200 steps, and 10 logged rows or more."""
    pick = random.Random(f"{name} {algorithm} {number}")
    drawn = draw(algorithm, pick.randrange(1_000_000))
    every = pick.choice(LOGGING_STEPS)
    steps = pick.choice([steps for steps in STEPS if steps >= FEWEST_ROWS * every])
    return replace(drawn, steps=steps, arguments={**drawn.arguments, "logging_steps": every})


def _scenario(name: str, algorithm: str) -> Scenario:
    def spoilt(ctx: Context) -> Any:
        configuration = configuration_of(name, algorithm, ctx.seed)
        draft = Draft(ctx, configuration, parts_of(ctx, configuration))
        TROUBLES[name].change(draft)
        trainer = build(ctx, draft.configuration, draft.parts)
        trainer.add_callback(_callback(trainer, draft.at_step))
        return trainer

    return Scenario(name=f"{name}-{algorithm}", function=spoilt, backend="trl", time_limit=TIME_LIMIT)


def _callback(trainer: Any, actions: list[Callable[[Any, int], None]]) -> Any:
    from transformers import TrainerCallback

    class Act(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            for action in actions:
                action(trainer, state.global_step)

    return Act()


globals().update(
    {f"{name}-{algorithm}": _scenario(name, algorithm) for name in TROUBLES for algorithm in TROUBLES[name].algorithms}
)
