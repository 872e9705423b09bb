"""What goes wrong late, or over many rows: planted in the logs of healthy trainings, for the detectors of rows.

A real training with a fault lasts some 30 steps here, and the checks see its samples and weights. Who judges a log has
its rows alone, often hundreds of them, so the detectors of rows are tried on both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from rlhf_assert.recording.recorder import Metrics
from rlhf_assert.recording.rows import Row
from rlhf_assert.recording.run import Run

Change = Callable[[list[Metrics]], None]
"""Changes, in place, the metrics of the rows from the onset on; a row may lack some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFault:
    """One thing that goes wrong in a log.

    Attributes:
        summary: what is wrong from the onset on.
        needs: metrics that the log must hold.
        lacks: metrics that it must not hold, which tell another kind of training.
        change: plants it.
        onset: the share of the rows before it.
    """

    summary: str
    needs: tuple[str, ...]
    change: Change
    lacks: tuple[str, ...] = ()
    onset: float = 0.5


def plant(run: Run, fault: LogFault) -> tuple[Run, int] | None:
    """Return a run with the fault in its rows, and the step from which it is there; None if it is no run for that.

    Everything but the rows stays as it was recorded.
    """
    rows = list(run.rows)
    logged = {metric for row in rows for metric in row.metrics}
    if not logged.issuperset(fault.needs) or logged.intersection(fault.lacks):
        return None
    first = int(fault.onset * len(rows))
    changed = [dict(row.metrics) for row in rows[first:]]
    fault.change(changed)
    after = [Row(row.step, row.epoch, metrics) for row, metrics in zip(rows[first:], changed, strict=True)]
    return replace(run, rows=(*rows[:first], *after)), rows[first].step


def _each(**changes: Callable[[float, int], float | None]) -> Change:
    """Change metrics value by value: each function gets the value and the number of rows since the onset."""

    def change(rows: list[Metrics]) -> None:
        for index, row in enumerate(rows):
            for metric, function in changes.items():
                value = row.get(metric)
                if value is not None:
                    row[metric] = function(value, index)

    return change


def _times(factor: float, *metrics: str, rows: int | None = None) -> Change:
    return _each(
        **{name: lambda value, row: value * (factor if rows is None or row < rows else 1.0) for name in metrics}
    )


def _set(**values: float) -> Change:
    return _each(**{name: lambda _, __, value=value: value for name, value in values.items()})


def _frozen(metric: str) -> Change:
    def change(rows: list[Metrics]) -> None:
        first = rows[0][metric]
        for row in rows:
            row[metric] = first

    return change


def _gone(metric: str) -> Change:
    def change(rows: list[Metrics]) -> None:
        for row in rows:
            row.pop(metric, None)

    return change


def _groups_alike(rows: list[Metrics]) -> None:
    """All but every eighth batch has groups of equal rewards."""
    for index, row in enumerate(rows):
        if index % 8:
            row["reward_std"] = 0.0
            if "zero_std_fraction" in row:
                row["zero_std_fraction"] = 1.0


def _labels_swapped(rows: list[Metrics]) -> None:
    """Chosen and rejected change places in what is measured; the loss goes on as it was."""
    for row in rows:
        chosen, rejected = row.get("chosen_reward"), row.get("rejected_reward")
        margin, accuracy = row.get("reward_margin"), row.get("reward_accuracy")
        if chosen is not None and rejected is not None:
            row["chosen_reward"], row["rejected_reward"] = rejected, chosen
        if margin is not None:
            row["reward_margin"] = -margin
        if accuracy is not None:
            row["reward_accuracy"] = 1.0 - accuracy


def _both(*changes: Change) -> Change:
    def change(rows: list[Metrics]) -> None:
        for one in changes:
            one(rows)

    return change


def _evenly(share: float, metric: str) -> Change:
    """Take away a share that grows from row to row and is whole at the last."""

    def change(rows: list[Metrics]) -> None:
        for index, row in enumerate(rows):
            value = row.get(metric)
            if value is not None:
                row[metric] = value * (1.0 - share * (index + 1) / len(rows))

    return change


def _length_pays(rows: list[Metrics]) -> None:
    for index, row in enumerate(rows):
        reward, length, cut = row.get("reward"), row.get("response_length"), row.get("truncated_fraction")
        if reward is not None and length is not None:
            row["response_length"] = longer = length * (1.0 + 2.0 * index / len(rows))
            row["reward"] = reward + 0.1 * longer
        if cut is not None:
            row["truncated_fraction"] = min(1.0, cut + 0.35 * index / len(rows))


LOG_FAULTS: Mapping[str, LogFault] = MappingProxyType(
    {
        "null-reward": LogFault(
            summary="the reward is null", needs=("reward",), change=_each(reward=lambda _, __: None)
        ),
        "reference-apart": LogFault(
            summary="the policy is .5 nats from its reference before the first update",
            needs=("kl_div",),
            change=_each(kl_div=lambda value, row: value + (0.0 if row else 0.5)),
            onset=0.0,
        ),
        "rate-zero": LogFault(
            summary="the learning rate is 0", needs=("learning_rate",), change=_set(learning_rate=0.0)
        ),
        "reward-constant": LogFault(
            summary="every reward is .5, from the start",
            needs=("reward", "reward_std"),
            change=_set(reward=0.5, reward_std=0.0),
            onset=0.0,
        ),
        "groups-alike": LogFault(
            summary="seven batches in eight have groups of equal rewards",
            needs=("reward_std",),
            change=_groups_alike,
        ),
        "margin-apart": LogFault(
            summary="the margin is not chosen less rejected reward",
            needs=("reward_margin", "chosen_reward", "rejected_reward"),
            change=_each(reward_margin=lambda value, _: value + 0.5),
        ),
        "entropy-frozen": LogFault(
            summary="the entropy stays, bit for bit, the same", needs=("entropy",), change=_frozen("entropy")
        ),
        "gradient-unlogged": LogFault(
            summary="the gradient norm is not logged any more", needs=("grad_norm",), change=_gone("grad_norm")
        ),
        "policy-away": LogFault(
            summary="the policy is 30 times as far from its reference",
            needs=("kl_div", "reward"),
            change=_times(30.0, "kl_div"),
        ),
        "entropy-collapse": LogFault(
            summary="a twentieth of the entropy is left", needs=("entropy", "reward"), change=_times(0.05, "entropy")
        ),
        "cut-off": LogFault(
            summary="nine completions in ten are cut off",
            needs=("truncated_fraction",),
            change=_each(truncated_fraction=lambda value, _: 0.9 + 0.1 * value),
        ),
        "steps-too-large": LogFault(
            summary="the policy moves .3 nats from the one that sampled, in every update",
            needs=("approx_kl",),
            change=_each(approx_kl=lambda value, _: value + 0.3),
        ),
        "engine-apart": LogFault(
            summary="the rollout engine is .3 nats per token apart from the trainer",
            needs=("rollout_kl",),
            change=_each(rollout_kl=lambda value, _: value + 0.3),
        ),
        "critic-lost": LogFault(
            summary="the critic explains less than nothing of the returns, at 5 times the loss",
            needs=("explained_variance", "value_loss"),
            change=_both(_each(explained_variance=lambda value, _: value - 3.0), _times(5.0, "value_loss")),
        ),
        "critic-explodes": LogFault(
            summary="the value loss is 3,000 times as large", needs=("value_loss",), change=_times(3000.0, "value_loss")
        ),
        "pairs-by-heart": LogFault(
            summary="the preference loss is a hundredth of what it was",
            needs=("reward_accuracy", "loss"),
            lacks=("reward",),
            change=_times(0.01, "loss"),
        ),
        "labels-swapped": LogFault(
            summary="chosen and rejected have changed places", needs=("reward_margin",), change=_labels_swapped
        ),
        "loss-returns": LogFault(
            summary="the loss gives back .7 of what was learnt",
            needs=("loss",),
            lacks=("reward", "approx_kl"),
            change=_each(loss=lambda value, _: value + 0.7),
        ),
        "reward-lost": LogFault(
            summary="the reward falls to a third", needs=("reward",), change=_times(0.33, "reward")
        ),
        "lost-at-once": LogFault(
            summary="the first updates leave a tenth of the reward and a fifth of the entropy",
            needs=("reward", "entropy"),
            change=_both(_times(0.1, "reward"), _times(0.2, "entropy")),
            onset=0.025,
        ),
        "reward-ebbs": LogFault(
            summary="the reward sinks evenly, by 60 % in all",
            needs=("reward",),
            change=_evenly(0.6, "reward"),
            onset=0.3,
        ),
        "update-spike": LogFault(
            summary="one gradient is 1,000 times as large",
            needs=("grad_norm", "kl_div"),
            change=_times(1000.0, "grad_norm", rows=1),
        ),
        "entropy-swings": LogFault(
            summary="the entropy swings by 40 %, every ten rows",
            needs=("entropy",),
            change=_each(entropy=lambda value, row: value * (1.0 + 0.4 * float(np.sin(row * np.pi / 5.0)))),
        ),
        "row-garbled": LogFault(
            summary="one row holds 20 times the entropy and the length",
            needs=("entropy", "response_length"),
            change=_times(20.0, "entropy", "response_length", rows=1),
        ),
        "length-pays": LogFault(
            summary="texts grow threefold, reward goes with their length, and a third of them come to be cut off",
            needs=("reward", "response_length", "truncated_fraction"),
            change=_length_pays,
            onset=0.3,
        ),
    }
)
"""Each is a mechanism of its own; together they are to show what each detector of rows is there for."""
