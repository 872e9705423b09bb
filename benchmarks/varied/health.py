"""Whether a training was healthy, by what it did and not by the shape of its curves: the detectors have no part in it.

Fixed before any alarm was looked at. A training is healthy if it completed, logged finite metrics only, and

- where it generates (PPO, GRPO, RLOO, OnlineDPO), between the first quarter of its steps and the last
  - the mean reward did not fall by more than two standard errors of that difference, steps being the unit,
  - the policy stayed within 2 ln 3 nats per token of its reference, twice what the best answers cost,
  - completions still differ (half of a step's texts are distinct) and are between half and twice as long;
- where it learns from examples (DPO, KTO, reward model, SFT), the loss on held-out examples, taken before, in the
  middle and at the end, ended lower than it began, and kept half of what it gained.
"""

from __future__ import annotations

import math

import numpy as np

from rlhf_assert import Run
from rlhf_assert.recording.events import Evaluation
from rlhf_assert.recording.run import Samples
from rlhf_assert_tiny.task import WARM_START_ANIMALS, animal_share

KL_LIMIT = 2.0 * math.log(1.0 / WARM_START_ANIMALS)
"""The best answers, animals only where a third of the first words are, cost ln 3 nats a word at temperature 1, and
more at lower ones, which sharpen the reference; a policy that always says the same word pays ln 24."""

DISTINCT_LIMIT = 0.5
LENGTH_FACTOR = 2.0
ERRORS = 2.0
KEPT = 0.5


def unhealthy(run: Run) -> str:
    """Return why a training was not healthy, empty if it was."""
    if run.status != "completed":
        said = run.info.get("error") or {}
        return f"{run.status}: {said.get('type', '')} {str(said.get('message', ''))[:100]}"
    for name, series in run.series.items():
        if not np.isfinite(series.values).all():
            return f"{name} is not finite"
    samples = run.samples
    return _behaviour(samples) if len(samples) else _held_out(run)


def _held_out(run: Run) -> str:
    losses = [event.metrics["eval_loss"] for event in run.events if isinstance(event, Evaluation)]
    if len(losses) < 2:
        return "not evaluated before and after"
    first, last, best = losses[0], losses[-1], min(losses)
    told = f"held-out loss {first:.4g}, at best {best:.4g}, at the end {last:.4g}"
    return "" if last < first and first - last >= KEPT * (first - best) else told


def _behaviour(samples: Samples) -> str:
    steps = np.unique(samples.step)
    quarter = max(1, len(steps) // 4)
    first, last = _by_step(samples, steps[:quarter]), _by_step(samples, steps[-quarter:])
    before, after = first["reward"], last["reward"]
    error = math.sqrt(sum(values.var(ddof=1) / len(values) for values in (before, after))) if quarter > 1 else np.inf
    if after.mean() < before.mean() - ERRORS * error:
        return f"reward {before.mean():.3g} to {after.mean():.3g}"
    divergence = last["divergence"].mean()
    if divergence > KL_LIMIT:  # NaN, without a reference, is not
        return f"{divergence:.2f} nats per token from the reference"
    if last["distinct"].mean() < DISTINCT_LIMIT:
        return f"{last['distinct'].mean():.0%} of the last completions distinct"
    growth = last["length"].mean() / first["length"].mean()
    if not 1 / LENGTH_FACTOR <= growth <= LENGTH_FACTOR:
        return f"completions {growth:.2f} times as long"
    return ""


def _by_step(samples: Samples, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the means of a step's completions, and the share of distinct ones, each of shape (steps,)."""
    columns: dict[str, list[float]] = {"reward": [], "divergence": [], "distinct": [], "length": []}
    for step in steps:
        rows = np.flatnonzero(samples.step == step)
        texts = [samples.text[row] for row in rows]
        columns["reward"].append(float(samples.reward[rows].mean()))
        columns["divergence"].append(float((samples.logprob - samples.ref_logprob)[rows].mean()))
        columns["distinct"].append(len(set(texts)) / len(texts))
        columns["length"].append(float(samples.length[rows].mean()))
    return {name: np.asarray(values) for name, values in columns.items()}


def task_share(run: Run) -> str:
    """Return the share of animals in the first quarter's completions and in the last's, whatever the reward was."""
    samples = run.samples
    if not len(samples):
        return ""
    shares = np.asarray(animal_share(list(samples.text)))
    steps = np.unique(samples.step)
    quarter = max(1, len(steps) // 4)
    first, last = (shares[np.isin(samples.step, part)].mean() for part in (steps[:quarter], steps[-quarter:]))
    return f"{first:.2f} to {last:.2f}"
