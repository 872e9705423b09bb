"""What every fault is injected with: the onset, a generator of its own, and changes that are taken back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Self

import torch  # noqa: TID253 - only imported by who has torch in memory already
from transformers import TrainerCallback  # noqa: TID253 - the same

from rlhf_assert.training.faults import Fault
from rlhf_assert_trl.describe import policy_of
from rlhf_assert_trl.promises import algorithm_of

_ABSENT = object()


class Injection:
    """One fault in one trainer.

    Attributes:
        trainer: the trainer.
        algorithm: what it runs.
        onset: the first step that the fault touches.
        magnitude: of the fault.
        random: draws what the fault draws, on the CPU.
    """

    def __init__(self, trainer: Any, fault: Fault, seed: int) -> None:
        self.trainer = trainer
        self.algorithm = algorithm_of(trainer)
        self.magnitude = fault.magnitude
        self.random = torch.Generator().manual_seed(seed)
        self.onset = fault.onset
        self._stack = ExitStack()
        self._callback = _StepCallback()

    def __enter__(self) -> Self:
        self.trainer.add_callback(self._callback)
        self._stack.callback(self.trainer.remove_callback, self._callback)
        if self.algorithm == "ppo":  # its loop has no event at the start of a step: the first thing it does is generate
            self.wrap(self.policy, "generate", self._generating)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def step(self) -> int:
        """The step that is being made, from 1 on."""
        return int(self.trainer.state.global_step) + 1

    @property
    def active(self) -> bool:
        """Whether this step is touched by the fault."""
        return self.step >= self.onset

    @property
    def begins(self) -> bool:
        """Whether this is the first step that is touched."""
        return self.step == self.onset

    @property
    def policy(self) -> Any:
        """The policy, free of wrappers."""
        return policy_of(self.trainer)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained: the policy's parameters, with PPO also the value model's."""
        return [parameter for parameter in self.trainer.model.parameters() if parameter.requires_grad]

    def pick(self, count: int, share: float) -> list[int]:
        """Return `share` of the numbers below `count`, at random, in order; at least one unless the share is 0."""
        wanted = max(1, round(share * count)) if share > 0.0 else 0
        return sorted(torch.randperm(count, generator=self.random)[:wanted].tolist())

    def draw(self, function: Callable[..., torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """Return random numbers of a tensor's shape: `function` is `torch.rand` or `torch.randn`."""
        return function(like.shape, generator=self.random).to(like.device, like.dtype)

    def at_train_begin(self, action: Callable[[], None]) -> None:
        """Call `action()` once, when the optimizer exists and before the first step."""
        self._callback.at_train_begin.append(action)

    def before_step(self, action: Callable[[], None]) -> None:
        """Call `action()` before every step of the training, before it generates."""
        self._callback.before_step.append(action)

    def at_onset(self, action: Callable[[], None]) -> None:
        """Call `action()` once, before the first step that the fault touches."""
        self.before_step(lambda: action() if self.begins else None)

    def at_save(self, action: Callable[[], None]) -> None:
        """Call `action()` after every checkpoint; then `trainer.state.global_step` names it."""
        self._callback.at_save.append(action)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute and take it back at the end."""
        before = vars(owner).get(name, _ABSENT)
        setattr(owner, name, value)
        self._stack.callback(
            (lambda: vars(owner).pop(name, None)) if before is _ABSENT else (lambda: setattr(owner, name, before))
        )

    def wrap(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        """Call `around(method, *args, **kwargs)` in place of a method of an object, or a function of a module."""
        method = getattr(owner, name)
        self.set(owner, name, lambda *args, **kwargs: around(method, *args, **kwargs))

    def undo_with(self, action: Callable[[], object]) -> None:
        """Call `action()` at the end."""
        self._stack.callback(action)

    def begin_step(self) -> None:
        """Do what is to be done before this step, unless it was done: whoever wraps `generate` calls it first."""
        self._callback.begin_step(self.trainer.state.global_step)

    def _generating(self, generate: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.begin_step()
        return generate(*args, **kwargs)


class _StepCallback(TrainerCallback):  # type: ignore[misc]
    """Tells when a training begins, makes a step, or has saved."""

    def __init__(self) -> None:
        self.at_train_begin: list[Callable[[], None]] = []
        self.before_step: list[Callable[[], None]] = []
        self.at_save: list[Callable[[], None]] = []
        self._begun = -1

    def begin_step(self, done: int) -> None:
        """Call the actions of a step once."""
        if done != self._begun:
            self._begun = done
            for action in self.before_step:
                action()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state, control
        for action in self.at_train_begin:
            action()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        self.begin_step(state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state, control
        for action in self.at_save:
            action()
