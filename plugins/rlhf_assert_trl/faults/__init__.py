"""Injects faults into a TRL trainer, by hooks and wrapped methods of that one trainer: no source is edited.

Whatever a fault draws at random comes from a generator of its own, and before its onset it changes nothing: a run is
bit-identical to the healthy one up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rlhf_assert.errors import UsageError
from rlhf_assert.training.fault_kinds import FAULTS, Need
from rlhf_assert.training.faults import Fault
from rlhf_assert_trl.faults import data, generation, gradients, machine, objective, reference, rewards, weights
from rlhf_assert_trl.faults.injection import Injection
from rlhf_assert_trl.promises import algorithm_of

INSTALLERS: dict[str, Callable[[Injection], None]] = {
    **gradients.INSTALLERS,
    **weights.INSTALLERS,
    **rewards.INSTALLERS,
    **objective.INSTALLERS,
    **reference.INSTALLERS,
    **generation.INSTALLERS,
    **data.INSTALLERS,
    **machine.INSTALLERS,
}


@contextmanager
def injected(trainer: Any, fault: Fault | None, *, seed: int) -> Iterator[None]:
    """Break a trainer for as long as the context lasts; without a fault, do nothing.

    Enter it before callbacks are added that watch the training: they then see what the fault does.

    Args:
        trainer: a trainer of TRL that has not begun to train.
        fault: what to break.
        seed: seeds what the fault draws.

    Raises:
        UsageError: the fault does not apply to this trainer; the message says why.
    """
    if fault is None:
        yield
        return
    reason = refusal(trainer, fault)
    if reason:
        raise UsageError(f"fault {fault.kind} does not apply: {reason}")
    with Injection(trainer, fault, seed) as injection:
        INSTALLERS[fault.kind](injection)
        yield


def refusal(trainer: Any, fault: Fault) -> str | None:
    """Return why a fault does not apply to a trainer, or None if it does."""
    known, algorithm = FAULTS[fault.kind], algorithm_of(trainer)
    if algorithm not in known.algorithms:
        return f"it breaks {', '.join(sorted(known.algorithms))}, this is {algorithm or type(trainer).__name__}"
    return next((reason for need in known.needs if (reason := _MISSING[need](trainer))), None)


def _no_reference(trainer: Any) -> str | None:
    if getattr(trainer, "ref_model", None) is None:
        return "the trainer has no reference model of its own (beta = 0, or adapters)"
    return None


def _no_reward_function(trainer: Any) -> str | None:
    if algorithm_of(trainer) == "ppo" or rewards.functions_of(trainer):
        return None
    return "the trainer's rewards come from models, not from functions"


def _no_clipping(trainer: Any) -> str | None:
    return None if trainer.args.max_grad_norm else "the trainer clips no gradients (max_grad_norm = 0)"


def _no_adam(trainer: Any) -> str | None:
    name = str(getattr(trainer.args.optim, "value", trainer.args.optim))
    return None if "adam" in name else f"the optimizer {name} keeps no moments of Adam"


_MISSING: dict[Need, Callable[[Any], str | None]] = {
    "reference": _no_reference,
    "reward functions": _no_reward_function,
    "gradient clipping": _no_clipping,
    "adam": _no_adam,
}
