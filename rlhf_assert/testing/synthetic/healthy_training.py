"""Healthy trainings: the metrics of a whole run, moving together as they do when a policy learns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rlhf_assert.recording.series import FloatArray
from rlhf_assert.testing.synthetic.curve import autocorrelated
from rlhf_assert.testing.synthetic.log import Log, rows_from

Algorithm = Literal["grpo", "ppo", "dpo", "sft"]
ALGORITHMS: tuple[Algorithm, ...] = ("grpo", "ppo", "dpo", "sft")

GROUPS, COMPLETIONS = 8, 64
"""Groups and completions of one step, of which the shares are shares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A run in which the policy learns and nothing is wrong.

    Learning is fast at first and slow in the end: with x from 0 at the first row to 1 at the last, the progress is
    gain * (1 - exp(-3x)) / (1 - exp(-3)). Rewards, KL, entropy, lengths, losses and accuracies follow the progress; an
    autocorrelated hardness of the batch moves reward, entropy, gradient and loss together; each metric has its own
    noise besides. What must hold does hold: KL 0, ratio 1 and a preference loss of ln 2 at the first row, margins that
    are chosen less rejected reward, shares within 0..1.

    Attributes:
        algorithm: which metrics there are: as TRL's GRPO, PPO, DPO and SFT log them, by canonical name.
        rows: number of rows, at least 1.
        gain: share of what can be learnt that is learnt by the last row; above 0, since a policy that stands still is a
            fault, up to 1.
        noise: multiple of the usual noise, above 0.
        seed: of the noise.
    """

    algorithm: Algorithm = "grpo"
    rows: int = 60
    gain: float = 1.0
    noise: float = 1.0
    seed: int = 1

    def log(self) -> Log:
        """Return the rows, of steps 1, 2, ...; the same description always gives the same rows."""
        source = np.random.default_rng(self.seed)
        x = np.linspace(0.0, 1.0, self.rows) if self.rows > 1 else np.zeros(self.rows)
        batch = _Batch(
            source,
            self.noise,
            progress=self.gain * (1.0 - np.exp(-3.0 * x)) / (1.0 - np.exp(-3.0)),
            hardness=self.noise * autocorrelated(source.standard_normal(self.rows), 0.5),
        )
        columns = _METRICS[self.algorithm](batch)
        columns["learning_rate"] = 1e-5 * (1.0 - x * self.rows / (self.rows + 1))
        return rows_from(np.arange(1, self.rows + 1), columns)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """What the metrics of one run have in common: arrays of shape (rows,)."""

    source: np.random.Generator
    scale: float
    progress: FloatArray
    hardness: FloatArray

    def noise(self, size: float) -> FloatArray:
        return size * self.scale * self.source.standard_normal(len(self.progress))

    def share(self, chance: FloatArray | float, outcomes: int) -> FloatArray:
        return self.source.binomial(outcomes, np.clip(chance, 0.0, 1.0), len(self.progress)) / outcomes


def _policy(batch: _Batch) -> dict[str, FloatArray]:
    """Return what GRPO and PPO have in common; the KL is per token."""
    progress, hardness, noise = batch.progress, batch.hardness, batch.noise
    kl = 0.15 * progress * np.exp(noise(0.2))
    kl[:1] = 0.0
    return {
        "reward": 0.2 + 0.5 * progress - 0.03 * hardness + noise(0.03),
        "kl_div": kl,
        "entropy": 2.4 * (1.0 - 0.3 * progress) * np.exp(0.01 * hardness + noise(0.015)),
        "response_length": 60.0 * (1.0 + 0.2 * progress) * np.exp(0.02 * hardness + noise(0.04)),
        "approx_kl": 0.004 * np.exp(noise(0.4)),
        "clip_ratio": 0.01 * np.exp(noise(0.4)),
    }


def _grpo(batch: _Batch) -> dict[str, FloatArray]:
    noise = batch.noise
    metrics = _policy(batch)
    return {
        **metrics,
        "loss": 0.04 * metrics["kl_div"] + 0.005 * batch.hardness + noise(0.02),
        "grad_norm": 0.7 * np.exp(0.1 * batch.hardness + noise(0.2)),
        "reward_std": 0.25 * (1.0 - 0.3 * batch.progress) * np.exp(noise(0.15)),
        "zero_std_fraction": batch.share(0.05, GROUPS),
        "truncated_fraction": batch.share(0.03, COMPLETIONS),
    }


def _ppo(batch: _Batch) -> dict[str, FloatArray]:
    progress, hardness, noise = batch.progress, batch.hardness, batch.noise
    metrics = _policy(batch)
    ratio = 1.0 + noise(0.002)
    ratio[:1] = 1.0
    return {
        **metrics,
        "kl_div": metrics["kl_div"] * metrics["response_length"],
        "policy_loss": -0.01 + 0.003 * hardness + noise(0.005),
        "value_loss": 0.3 * (1.0 - 0.6 * progress) * np.exp(0.1 * hardness + noise(0.15)),
        "explained_variance": np.minimum(1.0, 0.1 + 0.6 * progress + noise(0.05)),
        "ratio": ratio,
    }


def _dpo(batch: _Batch) -> dict[str, FloatArray]:
    progress, noise = batch.progress, batch.noise
    margin = progress * (1.5 + noise(0.1)) - 0.05 * progress * batch.hardness
    chosen = 0.4 * margin + progress * noise(0.05)
    loss = np.log1p(np.exp(-margin)) * np.exp(progress * noise(0.03))
    margin[:1], chosen[:1], loss[:1] = 0.0, 0.0, np.log(2.0)
    return {
        "loss": loss,
        "grad_norm": 4.0 * (1.0 - 0.5 * progress) * np.exp(0.1 * batch.hardness + noise(0.2)),
        "chosen_reward": chosen,
        "rejected_reward": chosen - margin,
        "reward_margin": margin,
        "reward_accuracy": batch.share(0.5 + 0.35 * progress, COMPLETIONS),
    }


def _sft(batch: _Batch) -> dict[str, FloatArray]:
    progress, hardness, noise = batch.progress, batch.hardness, batch.noise
    loss = (2.5 - 1.2 * progress) * np.exp(0.015 * hardness + noise(0.01))
    return {
        "loss": loss,
        "grad_norm": 1.5 * (1.0 - 0.4 * progress) * np.exp(0.1 * hardness + noise(0.2)),
        "entropy": 0.9 * loss * np.exp(noise(0.01)),
    }


_METRICS: dict[Algorithm, Callable[[_Batch], dict[str, FloatArray]]] = {
    "grpo": _grpo,
    "ppo": _ppo,
    "dpo": _dpo,
    "sft": _sft,
}
