"""The optimizer: it applies what the trainer says, to all the weights that it trains, and remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import isfinite

from rlhf_assert.checked import Check
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import failed, insufficient, passed, serious, skipped
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.failures import LoopUnsound
from rlhf_assert.numbers import count, number, setting, share
from rlhf_assert.recording.events import TrainBegin, Update
from rlhf_assert.recording.run import Run

RATE_TOLERANCE = 0.01
CLIP_TOLERANCE = 0.01
"""Relative; what rounding and a norm over several devices may differ by."""

FEW_TENSORS = 0.1
"""Share of the trained tensors that must stop in one update: those that updates no longer move because they round to
nothing stop one by one."""

STEADY_RATE = 0.2
"""Share of its highest value above which a learning rate still moves weights."""

_CRITIC = "critic"

Updates = Sequence[Update]


@check(
    name="optimizer",
    question="Does each update apply what the trainer says, to all the weights?",
    failure=LoopUnsound,
    order=100,
    needs="events of the optimizer's updates",
    assertion="assert_loop_sound",
    of_the_loop=True,
    finds=frozenset(
        {
            "learning_rate_spike",
            "learning_rate_zero",
            "gradient_drop",
            "gradient_clipping_off",
            "gradient_nan",
            "gradient_inf",
            "optimizer_state_lost",
            "parameters_frozen",
            "weights_nan",
            "weights_inf",
            "value_head_scaled",
            "critic_learning_rate_spike",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_optimizer(run: Run, *, fail_on: Severity = Severity.critical) -> Check:
    """Judge every update by what was seen at the optimizer itself (events `update`).

    All are invariants of a sound loop, so none has a false-alarm rate: the learning rate applied is the scheduled one;
    the gradient applied is no longer than `max_grad_norm`; a tensor that moved in each update goes on moving as long as
    the learning rate does; nothing else writes into weights that are trained; Adam's count of its steps never falls,
    and at a resume is not 1.
    """
    updates = run.events_of(Update)
    if not updates:
        return skipped("the run recorded no update of its optimizer")
    if len(updates) < 2:
        return insufficient(f"{count(len(updates), 'update')}, a judgement takes 2")
    rules: tuple[Callable[[Run, Updates], Anomaly | None], ...] = (_rate, _clipping, _standstill, _written, _forgotten)
    of_models = [[each for each in updates if each.model == name] for name in _models(updates)]
    anomalies = [anomaly for own in of_models for rule in rules if (anomaly := rule(run, own)) is not None]
    drawn = [name for name in ("learning_rate", "grad_norm") if name in run.series]
    failing = serious(anomalies, fail_on)
    if failing:
        lead = min(failing, key=lambda anomaly: anomaly.onset)
        return failed(
            f"optimizer: {lead.summary}",
            anomalies=anomalies,
            metrics=drawn,
            evidence=[f"{name}: {value}" for name, value in lead.evidence.items()],
            remedy=(lead.remedy,),
        )
    return passed(f"{count(len(updates), 'update')} as scheduled", drawn, anomalies)


def _models(updates: Updates) -> list[str | None]:
    """Return what is trained, as the updates name it: nothing else, an `actor`, and perhaps a `critic` beside it."""
    return list(dict.fromkeys(update.model for update in updates))


def _rate(_: Run, updates: Updates) -> Anomaly | None:
    for update in updates:
        applied, scheduled = update.learning_rate, update.scheduled
        if applied is None or scheduled is None:
            continue
        if abs(applied - scheduled) > RATE_TOLERANCE * max(abs(applied), abs(scheduled)):
            return _sign(
                "learning-rate-applied",
                update,
                f"stepped with learning rate {setting(applied)} at step {update.step}, "
                f"the schedule says {setting(scheduled)}",
                "look for what sets the learning rate of the optimizer's groups beside the scheduler",
                {"applied": applied, "scheduled": scheduled},
            )
    return None


def _clipping(run: Run, updates: Updates) -> Anomaly | None:
    limit = run.config.get("max_grad_norm")
    unclipped = run.algorithm == "ppo"  # TRL's PPO clips nothing, whatever its configuration says
    if not isinstance(limit, float | int) or limit <= 0.0 or unclipped or updates[0].model == _CRITIC:
        return None
    for update in updates:
        norm = update.grad_norm
        if norm is not None and isfinite(norm) and norm > (1.0 + CLIP_TOLERANCE) * limit:
            return _sign(
                "gradient-not-clipped",
                update,
                f"gradient of norm {number(norm)} was applied at step {update.step}, max_grad_norm is {setting(limit)}",
                "check that clipping comes after the last change of the gradients, and before the optimizer's step",
                {"applied": norm, "max_grad_norm": limit},
            )
    return None


def _standstill(_: Run, updates: Updates) -> Anomaly | None:
    """Return the sign of weights that stopped for two updates at least, while the learning rate went on."""
    highest = 0.0
    earlier = 0
    for before, update in pairwise(updates):
        rate = update.learning_rate or 0.0
        highest = max(highest, rate, before.learning_rate or 0.0)
        tensors = update.tensors or 1
        still = min(before.stopped or 0, update.stopped or 0) - earlier
        earlier = before.stopped or 0
        if still > FEW_TENSORS * tensors and rate >= STEADY_RATE * highest > 0.0:
            without = update.without_gradient or 0
            return _sign(
                "weights-stopped",
                before,
                f"{share(still / tensors)} of the trained tensors stopped moving at step {before.step}",
                "check requires_grad, and what sets gradients to None between backward and step",
                {"stopped": still, "of": tensors, "without a gradient": without, "learning rate": rate},
            )
    return None


def _written(_: Run, updates: Updates) -> Anomaly | None:
    for update in updates:
        if written := update.written:
            return _sign(
                "weights-written",
                update,
                f"{count(written, 'trained tensor')} changed at step {update.step} without an update",
                "look for what loads, scales, casts or averages weights while they are trained",
                {"tensors": written, "of": update.tensors or written},
            )
    return None


def _forgotten(run: Run, updates: Updates) -> Anomaly | None:
    first = updates[0]
    begun = next((event.step for event in run.events_of(TrainBegin)), None)
    if begun and first.optimizer_step == 1:
        return _forgot(first, f"resumed at step {begun} without its moments")
    for before, update in pairwise(updates):
        old, new = before.optimizer_step, update.optimizer_step
        if old is not None and new is not None and new < old:
            return _forgot(update, f"lost its moments at step {update.step}: its count fell from {old} to {new}")
    return None


def _forgot(update: Update, clause: str) -> Anomaly:
    return _sign(
        "optimizer-state-lost",
        update,
        f"it {clause}",
        "load optimizer.pt with the weights, and build the optimizer only once",
        {"steps it counts": update.optimizer_step or 0},
    )


def _sign(kind: str, update: Update, summary: str, remedy: str, evidence: Mapping[str, float | int | str]) -> Anomaly:
    return Anomaly(
        kind=kind,
        metric="learning_rate" if kind == "learning-rate-applied" else "grad_norm",
        severity=Severity.critical,
        onset=update.step,
        summary=f"{summary} (of the critic)" if update.model == _CRITIC else summary,
        evidence=evidence,
        remedy=remedy,
    )
