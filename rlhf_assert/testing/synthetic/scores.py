"""Per-sample records of a training with rewards, sound or with a known fault."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlhf_assert.recording.run import Samples
from rlhf_assert.recording.series import FloatArray, IntArray

RewardFault = Literal["none", "constant", "random", "length", "nan", "saturated", "negated", "shuffled"]
REWARD_FAULTS: tuple[RewardFault, ...] = (
    "none",
    "constant",
    "random",
    "length",
    "nan",
    "saturated",
    "negated",
    "shuffled",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardBatch:
    """The samples of a run: in each step some prompts, and for each prompt a group of completions.

    A completion has a quality of 0 to 1, which rises over the run; a sound reward is the quality with a little noise,
    the same for the same text. Lengths of 20 to 60 tokens do not depend on the quality. The faults:

    - `constant`: every reward is 0.5; `saturated`: all rewards of a group are equal, from the first step on.
    - `random`: the reward does not depend on the completion, and equal ones are scored differently.
    - `length`: the reward is a hundredth of the length, and lengths grow by 60 tokens over the run.
    - `nan`: one reward in 20, and at least one, is NaN.
    - `negated`: the advantages have the wrong sign; `shuffled`: they belong to other completions of the group.

    Attributes:
        steps: number of steps, at least 1.
        groups: prompts of each step, at least 1.
        size: completions of each prompt, at least 2.
        fault: see above.
        seed: of qualities, lengths and noise.
    """

    steps: int = 16
    groups: int = 4
    size: int = 8
    fault: RewardFault = "none"
    seed: int = 1

    def samples(self) -> Samples:
        """Return the records, of steps 1, 2, ..."""
        source = np.random.default_rng(self.seed)
        count = self.steps * self.groups * self.size
        step = np.repeat(np.arange(1, self.steps + 1), self.groups * self.size)
        group = np.repeat(np.arange(self.steps * self.groups), self.size)
        answers = source.integers(0, max(2, 3 * self.size // 4), count)  # some completions of a group are equal
        reward, length = self._scores(source, group, answers, step)
        advantage = _advantage(reward, self.size)
        if self.fault == "negated":
            advantage = -advantage
        elif self.fault == "shuffled":
            advantage = advantage[np.lexsort((source.random(count), group))]
        return Samples(
            step=step,
            prompt=np.asarray([f"prompt{number}" for number in group.tolist()]),
            length=length,
            truncated=np.zeros(count),
            reward=reward,
            rewards={"score": reward},
            advantage=advantage,
            value=np.full(count, np.nan),
            returns=np.full(count, np.nan),
            logprob=-1.2 + 0.1 * source.standard_normal(count),
            ref_logprob=-1.25 + 0.1 * source.standard_normal(count),
            # The last one is longer than all others, so that none of these looks cut off.
            text=(*(f"answer {number}" for number in answers[:-1].tolist()), "an answer longer than the others"),
        )

    def _scores(
        self, source: np.random.Generator, group: IntArray, answers: IntArray, step: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return reward and length, each shape (n,): the same for equal answers of one group."""
        kinds = int(answers.max()) + 1
        text = group * kinds + answers
        total = int(text.max()) + 1
        quality = source.random(total)[text]
        length = source.integers(20, 61, total)[text].astype(np.float64)
        risen = 0.2 * step / self.steps
        reward = 0.7 * quality + risen
        if self.fault == "constant":
            reward = np.full_like(quality, 0.5)
        elif self.fault == "saturated":
            reward = 0.5 + risen
        elif self.fault == "random":
            reward = source.random(len(text))
        elif self.fault == "length":
            length = length + np.round(60.0 * step / self.steps)
            reward = 0.01 * length
        elif self.fault == "nan":
            reward[:: max(1, min(20, len(reward)))] = np.nan
        return reward, length


def _advantage(reward: FloatArray, size: int) -> FloatArray:
    """Return the rewards standardised by group, as GRPO does; 0 where they are equal."""
    table = reward.reshape(-1, size)
    spread = table.std(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        standard = (table - table.mean(axis=1, keepdims=True)) / np.where(spread > 1e-12, spread, 1.0)
    return np.asarray(standard.ravel())
