"""Rollouts from another policy than the one that is trained: stale weights, other numerics, other sampling."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.rows import Block

Row = Mapping[str, float | None]

LIMIT = 0.1
"""Nats per token in size, whatever the estimator. verl's guide calls a KL of .1 a significant mismatch, slime's tests
allow a mean difference of .1, NeMo-RL's a median factor of 1.1 (.095); engines in bfloat16 show .001 to .03."""
GROWN, TIMES = 0.05, 5.0
"""What a mismatch that was smaller at the first row must pass: NeMo-RL's strictest bound (a factor of 1.05), and as
many times its size at the start. Numerics do not grow with training, the distance of a stale copy does."""
LOST = 0.9
"""Nats at which less than .3 of a batch's tokens count, by effective sample size: exp(-s^2) for log-ratios that are
normal with standard deviation s, of which .8 s is the mean difference and s^2 / 2 the KL. verl's guide sets the .3."""
WINDOW, ROWS = 8, 5
START = 3


@dataclass(slots=True)
class RolloutMismatch:
    """Compares `rollout_kl`, the trainer's distance from its rollout engine on the sampled tokens, with fixed bounds.

    `rollout-mismatch`: 5 of the last 8 rows above .1 nats in size. `rollout-stale`: 5 of 8 rows above .05 nats and
    above 5 times the first row, in a log whose first row was under .05: it came with the updates. Each is a warning,
    once; critical where 5 of 8 rows are above .9 and the reward is not above its start: hardly a token of the batch
    then tells about the policy. A log that tells no reward has no critical.

    The bounds are of scale, so they need no past and draw on no budget. What is logged differs: OpenRLHF and verl log a
    mean log-ratio (its sign tells nothing, so sizes count), TRL and slime the mean size of the log-ratio, verl's
    `rollout_probs_diff_mean` that of a difference of probabilities, which is at most as large.

    Needs `rollout_kl`. Sources: verl, docs/algo/rollout_corr.md; NeMo-RL, tests/test_suites; slime, CI checks;
    F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training" (2025).
    """

    name: str = "rollout-mismatch"
    _recent: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _rewards: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _start: list[float] = field(default_factory=list)
    _first: float | None = None
    _warned: Anomaly | None = None
    _done: bool = False

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Row) -> list[Anomaly]:
        """Take one row; rows without a finite `rollout_kl` are passed over."""
        value = metrics.get("rollout_kl")
        if value is None or value - value != 0.0 or self._done:
            return []
        size = abs(value)
        if self._first is None:
            self._first = size
        self._recent.append((step, size))
        reward = metrics.get("reward")
        if reward is not None and reward - reward == 0.0:
            if len(self._start) < START:
                self._start.append(reward)
            self._rewards.append(reward)
        if size <= GROWN:
            return []
        kind = self._warned.kind if self._warned else self._kind()
        if not kind:
            return []
        lost = self._above(LOST) and len(self._rewards) == WINDOW and median(self._rewards) <= median(self._start)
        if self._warned is not None and not lost:
            return []
        self._done = lost
        onset = self._warned.onset if self._warned else next(at for at, size in self._recent if size > GROWN)
        self._warned = _anomaly(kind, onset, self._evidence(kind, lost=lost))
        return [self._warned]

    def absorb(self, block: Block) -> bool:
        """Take a block under every bound."""
        sizes = block.metrics.get("rollout_kl")
        if sizes is None or self._done:
            return True
        rewards = block.metrics.get("reward")
        if self._first is None or (rewards is not None and len(self._start) < START) or np.abs(sizes).max() > GROWN:
            return False
        steps, last = block.steps[-WINDOW:].tolist(), np.abs(sizes[-WINDOW:]).tolist()
        self._recent.extend(zip(steps, last, strict=True))
        if rewards is not None:
            self._rewards.extend(rewards[-WINDOW:].tolist())
        return True

    def _kind(self) -> str:
        first = self._first or 0.0
        if first < GROWN and self._above(max(GROWN, TIMES * first)):
            return "rollout-stale"
        return "rollout-mismatch" if self._above(LIMIT) else ""

    def _evidence(self, kind: str, *, lost: bool) -> dict[str, float]:
        first = self._first or 0.0
        limit = LOST if lost else max(GROWN, TIMES * first) if kind == "rollout-stale" else LIMIT
        return {"value": median(size for _, size in self._recent), "first": first, "limit": limit, "rows": WINDOW}

    def _above(self, limit: float) -> bool:
        return sum(size > limit for _, size in self._recent) >= ROWS


def _anomaly(kind: str, onset: int, evidence: Mapping[str, float]) -> Anomaly:
    stale, lost = kind == "rollout-stale", evidence["limit"] == LOST
    causes = (
        "another temperature, top-p or chat template in the engine than in the trainer's log-probabilities",
        "quantised or half-precision rollouts, or other kernels (a mixture of experts that routes differently)",
        "dropout left on in the trainer",
    )
    return Anomaly(
        kind=kind,
        metric="rollout_kl",
        severity=Severity.critical if lost else Severity.warning,
        onset=onset,
        summary=f"{evidence['value']:.3g} nats per token from the rollout engine from step {onset} on"
        + (f", {evidence['first']:.2g} at the first row" if stale else "")
        + ("; the reward is not above its start" if lost else ""),
        evidence=evidence,
        causes=("the engine keeps old weights: the synchronisation fails, or comes too late", *causes)
        if stale
        else causes,
        remedy="compare the engine's weights with the trainer's after an update"
        if stale
        else "compare the log-probabilities of one batch from both, with temperature 1 and dropout off; "
        "correct by importance sampling",
    )


SPEC = DetectorSpec("rollout-mismatch", lambda _: RolloutMismatch())
