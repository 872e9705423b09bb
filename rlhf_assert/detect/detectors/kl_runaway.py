"""A KL to the reference that runs away: the policy has left the text that the reference model writes."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.detect.reward_variance import no_variance
from rlhf_assert.detect.streaks import streaks
from rlhf_assert.recording.rows import Block
from rlhf_assert.recording.series import FloatArray

Row = Mapping[str, float | None]

LIMIT_PER_TOKEN = 1.0
"""Nats per token. At 1.0 the policy gives its tokens e times the reference's probability on average; healthy public
GRPO logs stay under 0.7 in any 5 rows, the worst of them from quantised policies."""
DEFAULT_RESPONSE_LENGTH = 53
"""Tokens; the default of TRL's PPOConfig.response_length, for a sequence sum in a log that tells no length."""
LARGEST_ENTROPY = 12.5
"""Nats: ln of a vocabulary of 268,000."""
FIRST = 3
ROWS = 5
"""Rows in succession above the limit that count as sustained; healthy runs spike for one or two."""

HISTORY = 512
"""Rows in which the beginning of the growth is looked for."""

_WITNESSES = ("reward", "entropy", "truncated_fraction")
_SEQUENCE_SUM = ("ppo", "online-dpo")


def kl_limit(row: Row, algorithm: str = "", config: Mapping[str, Any] | None = None) -> float:
    """Return the limit of `kl_div` in nats: per token, or times the response length where the KL is a sequence sum.

    PPO and online DPO log a sum over the sequence, as does a log of unknown algorithm with a value loss in it, or with
    an entropy that no single token can have; unless the configuration says `kl_per_token`.
    """
    config = config or {}
    if config.get("kl_per_token") or (algorithm not in _SEQUENCE_SUM and (algorithm or not _looks_summed(row))):
        return LIMIT_PER_TOKEN
    length = row.get("response_length")
    for known in (length, config.get("response_length"), config.get("max_new_tokens")):
        if isinstance(known, int | float) and 0 < known < math.inf:
            return LIMIT_PER_TOKEN * known
    return LIMIT_PER_TOKEN * DEFAULT_RESPONSE_LENGTH


def _looks_summed(row: Row) -> bool:
    return row.get("value_loss") is not None or (row.get("entropy") or 0.0) > LARGEST_ENTROPY


def _limits(block: Block, algorithm: str, config: Mapping[str, Any]) -> FloatArray:
    """Return `kl_limit` of each row of a block: of shape (n,), or () where it is one for all."""
    if config.get("kl_per_token"):
        return np.array(LIMIT_PER_TOKEN)
    length, entropy = block.metrics.get("response_length"), block.metrics.get("entropy")
    otherwise = kl_limit({}, "ppo", config)  # of a sum in a row that tells no length
    sums = otherwise if length is None else np.where(length > 0.0, LIMIT_PER_TOKEN * length, otherwise)
    summed = np.array(algorithm in _SEQUENCE_SUM or (not algorithm and "value_loss" in block.metrics))
    if not algorithm and entropy is not None:
        summed = summed | (entropy > LARGEST_ENTROPY)
    return np.where(summed, sums, LIMIT_PER_TOKEN)


class KLRunaway:
    """Reports a KL above its limit for 5 rows in succession, with the onset where its growth began.

    What the first row shows at step 1 is an offset (quantisation, or a reference that is not the policy, which
    `identities.StepOne` reports) and is added to the limit.

    A warning at first; critical once something else shows that the policy is lost: the KL at 3 times its limit for 5
    rows, or, while not each reward is above each of the first 3, group variance gone, a reward that has not risen,
    entropy under half or over twice its start, or completions that began to be cut off. KTO is not judged: its KL is a
    sum of unknown length.

    Args:
        algorithm: see `default_detectors`.
        config: the trainer's hyper-parameters.
        limit: limit in nats, in place of `kl_limit`.
    """

    name = "kl-runaway"

    def __init__(
        self, algorithm: str = "", config: Mapping[str, Any] | None = None, limit: float | None = None
    ) -> None:
        self._algorithm = algorithm
        self._config = config or {}
        self._limit = limit
        self._history: deque[tuple[int, float]] = deque(maxlen=HISTORY)
        self._start: dict[str, float] = {}
        self._first: list[float] = []
        self._recent: deque[Row] = deque(maxlen=ROWS)
        self._offset: float | None = None
        self._streak = 0
        self._warned: Anomaly | None = None
        self._done = algorithm == "kto"

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; a row without a finite KL is passed over."""
        value = metrics.get("kl_div")
        if self._done or value is None or value - value != 0.0:
            return []
        for metric in _WITNESSES:
            if metric not in self._start and (first := metrics.get(metric)) is not None:
                self._start[metric] = first
        if len(self._first) < FIRST and (reward := metrics.get("reward")) is not None:
            self._first.append(reward)
        limit = kl_limit(metrics, self._algorithm, self._config) if self._limit is None else self._limit
        if self._offset is None:
            self._offset = max(0.0, value) if step <= 1 else 0.0
        limit += self._offset
        self._history.append((step, value))
        self._recent.append(metrics)
        self._streak = self._streak + 1 if value > limit else 0
        if self._streak < ROWS:
            return []
        why = self._corroboration(limit)
        if not why and self._warned is not None:
            return []
        self._done = bool(why)
        self._warned = self._anomaly(limit, why)
        return [self._warned]

    def absorb(self, block: Block) -> bool:
        """Take a block in which the KL is nowhere above its limit for 5 rows in succession."""
        values = block.metrics.get("kl_div")
        if values is None:
            return True
        if "reward" in block.metrics and len(self._first) < FIRST:
            return False
        if self._offset is None or any(metric in block.metrics and metric not in self._start for metric in _WITNESSES):
            return False
        limits = _limits(block, self._algorithm, self._config) if self._limit is None else self._limit
        longest, last = streaks(values > limits + self._offset, self._streak)
        if longest >= ROWS:
            return False
        self._streak = last
        self._recent.extend(metrics for _, metrics in block.tail(ROWS))
        self._history.extend(zip(block.steps[-HISTORY:].tolist(), values[-HISTORY:].tolist(), strict=True))
        return True

    def _corroboration(self, limit: float) -> str:
        """Return what else shows that the policy is lost, or an empty string."""
        recent = list(self._recent)
        if all((row["kl_div"] or 0.0) > 3 * limit for row in recent):
            return "more than 3 times the limit"
        if self._rises():  # what was left was left for a better reward, and that may be the best there is
            return ""
        if all(no_variance(row) for row in recent):
            return "no group of completions has reward variance"
        start = self._start.get
        entropy, truncated, reward = (_known(recent, name) for name in ("entropy", "truncated_fraction", "reward"))
        begin = start("entropy")
        if begin is not None and begin > 0 and entropy:
            if max(entropy) < 0.5 * begin:
                return "entropy under half its start"
            if min(entropy) > 2 * begin:
                return "entropy over twice its start"
        if start("truncated_fraction", 1.0) < 0.5 and truncated and min(truncated) > 0.9:
            return "completions are cut off, as they were not at the start"
        if "reward" in self._start and len(reward) == ROWS and max(reward) <= self._start["reward"]:
            return "the reward is not above its start"
        return ""

    def _rises(self) -> bool:
        """Return whether each of the last rewards is above each of the first."""
        rewards = _known(list(self._recent), "reward")
        return len(rewards) == ROWS and len(self._first) == FIRST and min(rewards) > max(self._first)

    def _anomaly(self, limit: float, why: str) -> Anomaly:
        if self._warned is not None:  # the same runaway, now corroborated
            onset, growth = self._warned.onset, float(self._warned.evidence["growth"])
        else:
            onset, growth = growth_onset(self._history, floor=0.1 * limit)
        step, value = self._history[-1]
        evidence: dict[str, float | int | str] = {
            "value": value,
            "limit": limit,
            "above_limit_since": self._history[-self._streak][0] if self._streak <= len(self._history) else onset,
            "growth": growth,
        }
        if growth > 1.0:
            evidence["doubling_steps"] = math.log(2.0) / math.log(growth)
        if why:
            evidence["corroboration"] = why
        beta = self._config.get("beta", self._config.get("kl_coef"))
        unleashed = (f"beta = {beta}, nothing pulls the policy to the reference",) if beta == 0 else ()
        return Anomaly(
            kind="kl-runaway",
            metric="kl_div",
            severity=Severity.critical if why else Severity.warning,
            onset=onset,
            summary=f"runaway from step {onset}: {value:.3g} at step {step}, limit {limit:.2f}",
            evidence=evidence,
            causes=(
                *unleashed,
                "the learning rate is too high",
                "the KL penalty is too weak for the reward, which is being exploited",
            ),
            remedy="lower learning_rate by 10, or raise beta (kl_coef in PPO)",
        )


def growth_onset(history: deque[tuple[int, float]], floor: float) -> tuple[int, float]:
    """Return the step at which a series began to grow, and its factor of growth per step from there on.

    Fits a level followed by exponential growth (a hinge in the logarithm, least squares over every knot). Where two
    levels fit better, it grew at once: the step is that of the jump, and the factor 1.

    Args:
        history: (step, value) pairs.
        floor: lower values count as this one, and the growth did not begin before the last of them.
    """
    steps = np.array([step for step, _ in history], dtype=np.float64)
    values = np.log(np.maximum(np.array([value for _, value in history]), floor))
    rise = np.maximum(steps[None, :] - steps[:, None], 0.0)  # a row per knot
    rise_off = rise - rise.mean(axis=1, keepdims=True)
    spread = (rise_off**2).sum(axis=1)
    usable = spread > 0
    if not usable.any():
        return int(steps[-1]), 1.0
    cross = rise_off @ (values - values.mean())
    explained = np.where(usable & (cross > 0), cross**2 / np.where(usable, spread, 1.0), -1.0)
    best = int(explained.argmax())
    if explained[best] <= 0:
        return int(steps[0]), 1.0
    jump, explained_by_jump = _jump(values)
    if explained_by_jump > explained[best]:
        return int(steps[jump]), 1.0
    low = np.flatnonzero(values <= np.log(floor))
    began = max(best, int(low[-1])) if len(low) else best
    return int(steps[min(began + 1, len(steps) - 1)]), float(np.exp(cross[best] / spread[best]))


def _jump(values: FloatArray) -> tuple[int, float]:
    """Return where the second of two levels begins that fit best, the higher one, and the squares that they explain."""
    count = np.arange(1, len(values))
    before = np.cumsum(values)[:-1] / count
    after = (values.sum() - before * count) / (len(values) - count)
    explained = np.where(after > before, (after - before) ** 2 * count * (len(values) - count) / len(values), 0.0)
    best = int(explained.argmax())
    return best + 1, float(explained[best])


def _known(rows: list[Row], metric: str) -> list[float]:
    return [value for row in rows if (value := row.get(metric)) is not None]


SPEC = DetectorSpec(
    "kl-runaway",
    lambda context: KLRunaway(context.algorithm, context.config, limit=context.threshold),
    knob="limit in nats",
)
