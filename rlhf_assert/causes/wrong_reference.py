"""The reference policy, what ties the policy to it, and whether the engines agree."""

from __future__ import annotations

from rlhf_assert.causes.hypothesis import RuledOut, about, at_first_step, lead
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.facts.coefficients import changed_coefficients
from rlhf_assert.numbers import number, setting
from rlhf_assert.recording.events import ReferenceFingerprint
from rlhf_assert.recording.run import Run

SAMPLER_ENTROPY = "rollout/entropy"
"""Original key of the mean surprise of the sampled tokens under what sampled them, in nats: its entropy."""

OTHER_TEMPERATURE = 1.2
"""Ratio of two entropies: twice the temperature has at least 1.5 times the entropy of a language model's next token."""

_COEFFICIENTS = ("beta", "kl_coef", "init_kl_coef")
_DRIFT_KINDS = frozenset({"kl-runaway", "kl-limit"})


def another_reference(run: Run, check: Check) -> Cause | RuledOut | None:
    """The reference differs from the policy before any update: kl at step 1 is not 0."""
    kl = run.series.get("kl_div")
    if kl is None or not len(kl) or not about(check, Concern.REFERENCE):
        return None
    broken = any(anomaly.kind in {"step-one-kl", "step-one-loss"} for anomaly in check.anomalies)
    first = number(kl.first)
    if not broken:
        identical = about(check, Concern.DISTANCE) and int(kl.steps[0]) <= 1 and abs(kl.first) < 1e-3
        return RuledOut("reference differs from the start", f"kl at step 1 is {first}") if identical else None
    return Cause(
        f"the reference is not the policy it started from: kl is {first} at step 1, where it is 0 by definition",
        remedy=(
            "load the reference from the checkpoint that the policy starts from",
            "the same dtype and quantisation for both, and dropout off",
        ),
    )


def moved_reference(run: Run, check: Check) -> Cause | RuledOut | None:
    """The reference's weights changed while the policy was trained."""
    if not about(check, Concern.DISTANCE):
        return None
    prints = [event for event in run.events_of(ReferenceFingerprint) if event.fingerprint]
    if len(prints) < 2:
        return None
    first, last = prints[0], prints[-1]
    if first.fingerprint == last.fingerprint:
        end = run.steps if last.step is None else last.step
        return RuledOut("reference moved", f"weights hash equal at steps {first.step or 0} and {end}")
    if run.config.get("sync_ref_model"):
        return None  # it moves on purpose
    return Cause(
        "the reference moved with the policy: its weights' hash changed during training",
        remedy=("freeze the reference, or load it a second time: it shares tensors with the policy",),
    )


def no_pull(run: Run, check: Check) -> Cause | RuledOut | None:
    """The policy ran away and nothing held it: the coefficient of the kl term is 0 or negative."""
    if not about(check, Concern.DISTANCE) or at_first_step(check):
        return None
    name = next((name for name in _COEFFICIENTS if isinstance(run.config.get(name), int | float)), None)
    if name is None:
        return None
    configured = float(run.config[name])
    changed = {each.name: each.used for each in changed_coefficients(run)}
    value = changed.get(name, configured)
    if value > 0.0:
        return RuledOut("no pull to the reference", f"{name} is {setting(value)}")
    if not any(anomaly.kind in _DRIFT_KINDS for anomaly in check.anomalies):
        return None
    clause = "nothing pulls the policy to the reference" if value == 0.0 else "it pushes the policy away"
    if value != configured:
        clause += f", though {setting(configured)} is configured"
    usual = 0.05 if name != "beta" else 0.04
    remedy = [f"{name} = {usual}, and run again"]
    rate = run.config.get("learning_rate")
    if isinstance(rate, float) and rate > 0.0:
        remedy.append(f"still there: learning_rate {setting(rate)} → {setting(float(f'{rate / 10:.0e}'))}")
    return Cause(f"{name} = {setting(value)}, {clause}", remedy=tuple(remedy))


def changed_coefficient(_: Run, check: Check) -> Cause | RuledOut | None:
    """A coefficient is not the configured one, as identities of the recorded numbers show: nothing else explains it."""
    sign = lead(check)
    if not about(check, Concern.OBJECTIVE) or sign is None or not sign.causes:
        return None
    return Cause(
        sign.causes[0],
        "certain",
        remedy=("look for what changes the coefficient after the trainer was built, and for its sign",),
    )


def sampler_differs(run: Run, check: Check) -> Cause | RuledOut | None:
    """What samples is another distribution than what is trained: an older policy, or one of another temperature.

    An older policy has an entropy that the policy had before; another temperature has one that it never had.
    """
    first = next((anomaly.onset for anomaly in check.anomalies if anomaly.kind == "rollout-mismatch"), None)
    sampled, trained = run.original.get(SAMPLER_ENTROPY), run.series.get("entropy")
    if not about(check, Concern.SAMPLING) or first is None or sampled is None or trained is None:
        return None
    now = sampled.values[sampled.steps == first]
    had = trained.values[trained.steps <= first]
    if not len(now) or not len(had):
        return None
    said = f"what sampled has an entropy of {number(float(now[0]))} at step {first}, the policy had {{}}"
    if float(now[0]) > OTHER_TEMPERATURE * float(had.max()) or float(now[0]) * OTHER_TEMPERATURE < float(had.min()):
        had_between = f"between {number(float(had.min()))} and {number(float(had.max()))} up to then"
        return Cause(
            f"completions are sampled at another temperature than the loss assumes: {said.format(had_between)}",
            remedy=("the same temperature, top-p and top-k in generation and in the loss",),
        )
    return Cause(
        f"completions are sampled with stale weights: {said.format('as much before')}",
        remedy=("sync the engine after every update, and wait for it before the next generation",),
    )


def out_of_sync(run: Run, check: Check) -> Cause | RuledOut | None:
    """The weights that sampled are not those that were trained: the importance ratio of step 1 is not 1."""
    ratio = run.series.get("ratio")
    if ratio is None or not len(ratio) or not about(check, Concern.RATIO):
        return None
    first = f"ratio at step 1 is {ratio.first:.4f}"
    if any(anomaly.kind == "step-one-ratio" for anomaly in check.anomalies):
        return Cause(
            f"the policy that sampled is not the one that is trained: {first}",
            remedy=(
                "the rollout engine's weights, temperature and top-p",
                "dropout off while log-probabilities are taken",
            ),
        )
    return RuledOut("weights out of sync", first) if abs(ratio.first - 1.0) < 1e-3 else None
