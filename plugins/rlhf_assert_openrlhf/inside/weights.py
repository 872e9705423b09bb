"""What each update of an optimizer really did, and whether the reference stood still.

OpenRLHF logs the learning rate of its scheduler and the gradient before it is clipped; this is taken at the optimizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, tell

STRATEGY = "openrlhf.utils.deepspeed.deepspeed"
ELEMENTS = 64
"""Elements that are watched of each tensor of the reference, evenly spread."""


@dataclass(slots=True)
class Update:
    """One update, which DeepSpeed makes by one step of its inner optimizer for each group of parameters.

    Attributes:
        rate: the learning rate of the first group; None if no step was made, as while gradients are accumulated.
        square: sum of the squares of the gradients that this rank applied, so after clipping.
    """

    rate: float | None = None
    square: float = 0.0

    def take(self, optimizer: Any, *_: Any) -> None:
        """Take in one step of the inner optimizer that is about to be made."""
        for group in optimizer.param_groups:
            if self.rate is None:
                self.rate = float(group["lr"])
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.square += float(parameter.grad.float().square().sum())


_updates: dict[int, Update] = {}
"""By the identity of its optimizer: the update that is made, or the last one."""


def begin_update(optimizer: Any) -> None:
    """Watch an optimizer, if this is its first update, and forget the update before."""
    inner = getattr(optimizer, "optimizer", optimizer)
    if id(optimizer) not in _updates:
        inner.register_step_pre_hook(lambda *args: guarded(_updates[id(optimizer)].take, *args))
    _updates[id(optimizer)] = Update()


def tell_update(optimizer: Any, name: str, scheduled: float | None) -> None:
    """Tell an update that was made: an event `update` of the step whose metrics come next."""
    update = _updates[id(optimizer)]
    if update.rate is not None:
        fields = {"learning_rate": update.rate, "scheduled": scheduled, "grad_norm": update.square**0.5}
        tell("within", name="update", fields={"model": name, **fields, "optimizer_step": adam_step(optimizer)})


def adam_step(optimizer: Any) -> int | None:
    """Return the largest count of updates in the state of an optimizer; None for one that does not count."""
    inner = getattr(optimizer, "optimizer", optimizer)
    steps = [state["step"] for state in inner.state.values() if "step" in state]
    return max((int(step) for step in steps), default=None)


@after(STRATEGY)
def updates(module: Any) -> None:
    """Every update of every model that is trained, by the rank that tells."""
    strategy = module.DeepspeedStrategy
    original = strategy.optimizer_step
    expect_parameters(original, "self", "_optimizer", "model", "_scheduler", "name", "kwargs")

    def optimizer_step(
        self: Any, _optimizer: Any, model: Any, _scheduler: Any, name: str = "model", **kwargs: Any
    ) -> None:
        if not self.is_rank_0():
            original(self, _optimizer, model, _scheduler, name=name, **kwargs)
            return
        scheduled = _scheduler.get_last_lr()[0] if hasattr(_scheduler, "get_last_lr") else None
        guarded(begin_update, _optimizer)
        original(self, _optimizer, model, _scheduler, name=name, **kwargs)
        guarded(tell_update, _optimizer, name, scheduled)

    strategy.optimizer_step = optimizer_step


def on_reference(module: Any, then: Callable[[Any, Any], None]) -> None:
    """Call `then(strategy, model)` with the reference as soon as it is loaded, in the process that holds it.

    It is the policy that is not trained; one beside a policy that is trained is its average.

    Args:
        module: the imported module of OpenRLHF's strategy.
        then: may replace the model's `forward`.
    """
    strategy, trains = module.DeepspeedStrategy, False
    train, evaluate = strategy._ds_init_train_model, strategy._ds_init_eval_model  # noqa: SLF001
    expect_parameters(train, "self", "model", "cfg")
    expect_parameters(evaluate, "self", "model")

    def initialise_trained(self: Any, model: Any, cfg: Any) -> Any:
        nonlocal trains
        trains = True
        return train(self, model, cfg)

    def initialise(self: Any, model: Any) -> Any:
        prepared = evaluate(self, model)
        if isinstance(prepared, module.Actor) and not trains:
            then(self, prepared)
        return prepared

    strategy._ds_init_train_model = initialise_trained  # noqa: SLF001
    strategy._ds_init_eval_model = initialise  # noqa: SLF001


class Reference:
    """Tells the weights of the reference by a hash, at first and whenever it changed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._before = ""

    def look(self) -> None:
        """Tell the hash (`reference_fingerprint`) if it is another than before, and that it moved."""
        digest = fingerprint(self._model)
        if digest != self._before:
            if self._before:
                tell("within", name="reference_moved", fields={})
            tell("within", name="reference_fingerprint", fields={"fingerprint": digest})
        self._before = digest


def fingerprint(model: Any) -> str:
    """Return a hash over evenly spread elements of a model's weights; under ZeRO-3, of this rank's share of them."""
    import torch

    tensors = (getattr(parameter, "ds_tensor", parameter).detach().flatten() for parameter in model.parameters())
    watched = torch.cat([tensor[:: -(-tensor.numel() // ELEMENTS) or 1].float() for tensor in tensors])
    return hashlib.blake2b(watched.cpu().numpy().tobytes(), digest_size=16).hexdigest()


@after(STRATEGY)
def reference(module: Any) -> None:
    """The reference, each time that it is used."""

    def watch(strategy: Any, model: Any) -> None:
        if not strategy.is_rank_0():
            return
        held, forward = Reference(model), model.forward

        def watched(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            guarded(held.look)
            return output

        model.forward = watched

    on_reference(module, watch)


HOOKS = (updates, reference)
