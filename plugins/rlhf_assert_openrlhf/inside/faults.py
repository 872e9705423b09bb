"""Breaks a training on purpose: the fault that `RLHF_ASSERT_FAULT` names, from its onset on.

Each fault is a hook on what it breaks, in whatever process that is. Which step is made is told by a file that grows by
one byte when the trainer has the completions of a step: generation is one step ahead of it. Before the onset nothing is
changed, and what a fault draws comes from a generator of its own.
"""

from __future__ import annotations

import functools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlhf_assert.training.faults import Fault, parse_fault
from rlhf_assert_openrlhf.inside.post_import import Hook, after, expect_parameters
from rlhf_assert_openrlhf.inside.weights import STRATEGY, on_reference

Install = Callable[[Fault], tuple[Hook, ...]]

EXPERIENCE = "openrlhf.trainer.ppo_utils.experience_maker"
GENERATOR = "openrlhf.trainer.ppo_utils.samples_generator"
ACTOR = "openrlhf.trainer.ray.ppo_actor"
ENGINE = "vllm.v1.engine.core"


def hooks(text: str) -> tuple[Hook, ...]:
    """Return what injects the fault of a text such as `reward_nan@10x2`."""
    fault = parse_fault(text)
    return (clock, *INSTALLERS[fault.kind](fault))


def step() -> int:
    """Return the step whose completions the trainer has, from 1 on; 0 before the first."""
    try:
        return _clock().stat().st_size
    except FileNotFoundError:
        return 0


def _clock() -> Path:
    return Path(os.environ["TMPDIR"]) / "fault-steps"


@after(EXPERIENCE)
def clock(module: Any) -> None:
    """The beginning of a step: its completions are there, and nothing has been computed of them."""
    maker = module.RemoteExperienceMaker
    original = maker.make_experience_batch
    expect_parameters(original, "self", "rollout_samples")

    def make_experience_batch(self: Any, rollout_samples: Any) -> Any:
        with _clock().open("ab") as file:
            file.write(b".")
        return original(self, rollout_samples)

    maker.make_experience_batch = make_experience_batch


def _random() -> Any:
    import torch

    return torch.Generator().manual_seed(0)


def _rewards(fault: Fault) -> tuple[Hook, ...]:
    @after(EXPERIENCE)
    def rewards(module: Any) -> None:
        """The rewards of a step, where they are complete and nothing has been made of them."""
        import torch

        from rlhf_assert_tiny.corruption import CORRUPTIONS, Batch

        maker, random = module.RemoteExperienceMaker, _random()
        original = maker.compute_advantages_and_returns
        expect_parameters(original, "self", "experiences")

        def compute_advantages_and_returns(self: Any, experiences: Any) -> Any:
            if step() >= fault.onset:
                whole = torch.cat([experience.rewards.float() for experience in experiences])
                lengths = torch.cat([experience.response_length for experience in experiences])
                changed = CORRUPTIONS[fault.kind](Batch(whole, lengths, fault.magnitude, random))
                parts = changed.split([len(experience.rewards) for experience in experiences])
                for experience, part in zip(experiences, parts, strict=True):
                    experience.rewards = part
                    experience.info |= {name: part for name in ("reward", "score") if name in experience.info}
            return original(self, experiences)

        maker.compute_advantages_and_returns = compute_advantages_and_returns

    return (rewards,)


def _coefficient(sign: float) -> Install:
    def install(fault: Fault) -> tuple[Hook, ...]:
        @after(EXPERIENCE)
        def coefficient(module: Any) -> None:
            """The coefficient of the KL penalty, which the trainer shares with the maker of the experience."""
            maker = module.RemoteExperienceMaker
            original = maker.make_experience
            expect_parameters(original, "self", "samples_list")

            def make_experience(self: Any, samples_list: Any) -> Any:
                if step() == fault.onset:
                    self.kl_ctl.value *= sign * fault.magnitude
                return original(self, samples_list)

            maker.make_experience = make_experience

        return (coefficient,)

    return install


def _sampling(setting: str, change: Callable[[Any, float], Any]) -> Install:
    def install(fault: Fault) -> tuple[Hook, ...]:
        @after(GENERATOR)
        def sampling(module: Any) -> None:
            """One setting with which the engines sample; the trainer goes on believing in the configured one."""
            generator = module.SamplesGenerator
            original = generator.generate_samples
            expect_parameters(original, "self", "generate_kwargs")

            def generate_samples(self: Any, **generate_kwargs: Any) -> Any:
                if step() + 1 >= fault.onset:
                    generate_kwargs[setting] = change(generate_kwargs[setting], fault.magnitude)
                return original(self, **generate_kwargs)

            generator.generate_samples = generate_samples

        return (sampling,)

    return install


def _stale(fault: Fault) -> tuple[Hook, ...]:
    @after(ACTOR)
    def sync(module: Any) -> None:
        """What is sent to the engines after a step, for the completions of the next one."""
        trainer, past = module.ActorPPOTrainer, _Past(int(fault.magnitude))
        train, send = trainer.ppo_train, trainer.broadcast_to_vllm
        expect_parameters(train, "self", "kl_ctl")
        expect_parameters(send, "self")

        def ppo_train(self: Any, kl_ctl: float) -> Any:
            past.begin(self.actor.model.module)  # what the engines were started with
            return train(self, kl_ctl)

        def broadcast_to_vllm(self: Any) -> None:
            with past.instead(self.actor.model.module, stale=step() + 1 >= fault.onset):
                send(self)

        trainer.ppo_train = ppo_train
        trainer.broadcast_to_vllm = broadcast_to_vllm

    return (sync,)


class _Past:
    """The weights that a model had, some steps back."""

    def __init__(self, steps: int) -> None:
        self._kept: deque[list[Any]] = deque(maxlen=steps + 1)

    def begin(self, model: Any) -> None:
        """Keep the weights of before the first step."""
        if not self._kept:
            self._keep(model)

    @contextmanager
    def instead(self, model: Any, *, stale: bool) -> Iterator[None]:
        """Keep a model's weights, and for as long as the context lasts let it have the oldest ones."""
        if self._kept:  # else no step has been made, and there are no others
            self._keep(model)
        if not self._kept or not stale:
            yield
            return
        self._load(model, self._kept[0])
        try:
            yield
        finally:
            self._load(model, self._kept[-1])

    def _keep(self, model: Any) -> None:
        self._kept.append([weight.detach().clone() for weight in model.parameters()])

    def _load(self, model: Any, weights: list[Any]) -> None:
        for weight, value in zip(model.parameters(), weights, strict=True):
            weight.data.copy_(value)


def _rate(trained: str, due: Callable[[Fault], bool], change: Callable[[float, float], float]) -> Install:
    def install(fault: Fault) -> tuple[Hook, ...]:
        @after(STRATEGY)
        def rate(module: Any) -> None:
            """The learning rate with which the optimizer steps; the scheduler sets it anew afterwards."""
            strategy = module.DeepspeedStrategy
            original = strategy.optimizer_step
            expect_parameters(original, "self", "_optimizer", "model", "_scheduler", "name", "kwargs")

            def optimizer_step(
                self: Any, _optimizer: Any, model: Any, _scheduler: Any, name: str = "model", **kwargs: Any
            ) -> None:
                if name != trained or not due(fault):
                    original(self, _optimizer, model, _scheduler, name=name, **kwargs)
                    return
                rates = [group["lr"] for group in _optimizer.param_groups]
                changed = [change(rate, fault.magnitude) for rate in rates]
                for group, rate in zip(_optimizer.param_groups, changed, strict=True):
                    group["lr"] = rate
                original(self, _optimizer, model, _scheduler, name=name, **kwargs)
                for group, wrong, rate in zip(_optimizer.param_groups, changed, rates, strict=True):
                    if group["lr"] == wrong:  # gradients are still accumulated: the scheduler has not stepped
                        group["lr"] = rate

            strategy.optimizer_step = optimizer_step

        return (rate,)

    return install


def _reference(change: Callable[[Any, float, Any], object]) -> Install:
    def install(fault: Fault) -> tuple[Hook, ...]:
        @after(STRATEGY)
        def reference(module: Any) -> None:
            """Every weight of the reference, once."""
            random = _random()

            def replace(_: Any, model: Any) -> None:
                _replace_once(model, fault, lambda weight: change(weight, fault.magnitude, random))

            on_reference(module, replace)

        return (reference,)

    return install


def _replace_once(model: Any, fault: Fault, change: Callable[[Any], object]) -> None:
    """Change every weight of a model before it is used in the step of the onset."""
    import torch

    original, replaced = model.forward, False

    def forward(*args: Any, **kwargs: Any) -> Any:
        nonlocal replaced
        if not replaced and step() >= fault.onset:
            replaced = True
            with torch.no_grad():
                for weight in model.parameters():
                    change(weight)
        return original(*args, **kwargs)

    model.forward = forward


def _noise(weight: Any, magnitude: float, random: Any) -> object:
    import torch

    return weight.add_(magnitude * torch.randn(weight.shape, generator=random).to(weight))


def _kill(module: str, owner: str, method: str, ahead: int) -> Install:
    """Return what kills the process that calls a method in the step of the onset, or is `ahead` of it by so much."""

    def install(fault: Fault) -> tuple[Hook, ...]:
        @after(module)
        def kill(imported: Any) -> None:
            """The process itself: SIGKILL, so that it cannot say a word."""
            holder = getattr(imported, owner)
            original = getattr(holder, method)

            @functools.wraps(original)  # the signature too: others that are put around it look at that
            def last(self: Any, *args: Any, **kwargs: Any) -> Any:
                if step() + ahead >= fault.onset:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(self, *args, **kwargs)

            setattr(holder, method, last)

        return (kill,)

    return install


def _truncated(fault: Fault) -> tuple[Hook, ...]:
    @after(STRATEGY)
    def checkpoint(module: Any) -> None:
        """The weights of a checkpoint, as soon as they are saved; the model that is saved at the end is none."""
        strategy = module.DeepspeedStrategy
        original = strategy.save_model
        expect_parameters(original, "self", "model", "tokenizer", "output_dir", "kwargs")

        def save_model(self: Any, model: Any, tokenizer: Any, output_dir: Any, **kwargs: Any) -> None:
            original(self, model, tokenizer, output_dir, **kwargs)
            folder = Path(output_dir)
            if folder.name.startswith("global_step") and step() >= fault.onset and self.is_rank_0():
                for file in (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")):
                    os.truncate(file, int(file.stat().st_size * fault.magnitude))

        strategy.save_model = save_model

    return (checkpoint,)


def _begins(fault: Fault) -> bool:
    return step() == fault.onset


def _lasts(fault: Fault) -> bool:
    return step() >= fault.onset


def _times(rate: float, magnitude: float) -> float:
    return rate * magnitude


INSTALLERS: Mapping[str, Install] = {
    "learning_rate_spike": _rate("actor", _begins, _times),
    "learning_rate_zero": _rate("actor", _lasts, lambda *_: 0.0),
    "critic_learning_rate_spike": _rate("critic", _begins, _times),
    "reward_nan": _rewards,
    "reward_inf": _rewards,
    "reward_constant": _rewards,
    "reward_random": _rewards,
    "reward_shuffled": _rewards,
    "reward_negated": _rewards,
    "reward_rescaled": _rewards,
    "reward_length": _rewards,
    "kl_coefficient_wrong": _coefficient(1.0),
    "kl_coefficient_negated": _coefficient(-1.0),
    "reference_noised": _reference(_noise),
    "reference_zeroed": _reference(lambda weight, *_: weight.zero_()),
    "rollout_weights_stale": _stale,
    "temperature_mismatch": _sampling("temperature", _times),
    "truncation": _sampling("max_new_tokens", lambda _, magnitude: max(1, int(magnitude))),
    "engine_killed": _kill(ENGINE, "EngineCore", "add_request", ahead=1),
    "actor_killed": _kill(ACTOR, "ActorPPOTrainer", "ppo_train", ahead=0),
    "checkpoint_truncated": _truncated,
}
