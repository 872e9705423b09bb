"""Tells what OpenRLHF's supervised trainers do: SFT, reward model and DPO, each a process of its own without Ray.

Their three classes have the same methods, replaced here by ones that tell the feed (`recording.tell`) what went through
them: the beginning and the end, every row of metrics, a hash of each batch, and what an evaluation found. Only rank 0
tells. Nothing needs to be logged anywhere else for it: neither TensorBoard nor wandb.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters
from rlhf_assert_openrlhf.inside.recording import guarded, record_metrics, tell, tell_event
from rlhf_assert_tiny.digest import digest_of
from rlhf_assert_tiny.reference import reference_fingerprint


class Watch:
    """What one training has to be told by: when its step began, and the weights of its reference, if it holds one.

    Args:
        trainer: the trainer; DPO's has a `ref_model`.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._reference: str | None = None
        self._batches: list[str] = []
        self._since = time.monotonic()

    def begin(self) -> None:
        """Tell that the training begins."""
        tell("begin")
        self._trainer.train_dataloader = Loader(self._trainer.train_dataloader, self.see)
        self._reference = reference_fingerprint(self._trainer)
        self._tell_reference("reference_fingerprint", 0)

    def row(self, step: int, logs: dict[str, Any]) -> None:
        """Tell a row of metrics with `step_time` in seconds and, of pairs, `reward_margin`; and a moved reference."""
        derived = {"step_time": time.monotonic() - self._since}
        if "chosen_reward" in logs and "reject_reward" in logs:
            derived["reward_margin"] = logs["chosen_reward"] - logs["reject_reward"]
        record_metrics(step, logs | derived)
        before, self._reference = self._reference, reference_fingerprint(self._trainer)
        if self._reference != before:
            self._tell_reference("reference_moved", step)

    def see(self, batch: Any) -> None:
        """Keep the hash of a batch that is about to be trained on."""
        self._batches.append(digest_of(batch))

    def batch(self, step: int) -> None:
        """Tell by a hash what this rank's share of a step was trained on."""
        tell_event("batch", step, digest=digest_of(self._batches))
        self._batches.clear()

    def step_begins(self) -> None:
        """Evaluations and saving are no part of a step."""
        self._since = time.monotonic()

    def end(self) -> None:
        """Tell that the training has ended."""
        self._tell_reference("reference_fingerprint", None)
        tell("end")

    def _tell_reference(self, name: str, step: int | None) -> None:
        if self._reference is not None:
            tell_event(name, step, fingerprint=self._reference)


class Loader:
    """A data loader that shows each batch before it gives it; what else is asked of it, the loader itself answers."""

    def __init__(self, loader: Any, see: Callable[[Any], None]) -> None:
        self._loader = loader
        self._see = see

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            guarded(self._see, batch)
            yield batch


def watch(trainer: Any) -> None:
    """Make a trainer's class tell the feed what its instances do.

    Raises:
        ImportError: its methods are not those of openrlhf 0.11.2.
    """
    fit, log, evaluate = trainer.fit, trainer.save_logs_and_checkpoints, trainer.evaluate
    expect_parameters(fit, "self", "args", "consumed_samples", "num_update_steps_per_epoch")
    expect_parameters(log, "self", "args", "global_step", "step_bar", "logs_dict", "client_states")
    expect_parameters(evaluate, "self", "eval_dataloader", "steps")
    watches: dict[int, Watch] = {}

    def watched_fit(self: Any, *args: Any, **kwargs: Any) -> None:
        watched = Watch(self)
        if self.strategy.is_rank_0():
            watches[id(self)] = watched
            guarded(watched.begin)
        fit(self, *args, **kwargs)
        if self.strategy.is_rank_0():
            guarded(watched.end)

    def watched_log(
        self: Any, args: Any, global_step: int, step_bar: Any, logs_dict: Any = None, client_states: Any = None
    ) -> None:
        watched = watches.get(id(self))
        if watched is not None:
            guarded(watched.batch, global_step)
            if global_step % args.logger.logging_steps == 0:
                guarded(watched.row, global_step, logs_dict or {})
        log(self, args, global_step, step_bar, logs_dict, client_states)
        if watched is not None:
            watched.step_begins()

    trainer.fit, trainer.save_logs_and_checkpoints = watched_fit, watched_log
    trainer.evaluate = _watched_evaluate(evaluate)


def _watched_evaluate(evaluate: Callable[..., None]) -> Callable[..., None]:
    def watched_evaluate(self: Any, eval_dataloader: Any, steps: int = 0) -> None:
        reduced: dict[str, Any] = {}
        all_reduce = self.strategy.all_reduce

        def remember(data: Any, op: str = "mean") -> Any:
            result = all_reduce(data, op)
            if isinstance(result, dict):  # what an evaluation reduces over the ranks is what it logs
                reduced.update(result)
            return result

        self.strategy.all_reduce = remember
        try:
            evaluate(self, eval_dataloader, steps)
        finally:
            del self.strategy.all_reduce
        if self.strategy.is_rank_0():
            guarded(tell, "evaluation", step=steps, metrics=reduced)

    return watched_evaluate


@after("openrlhf.trainer.sft_trainer")
def sft(module: Any) -> None:
    """`train_sft`."""
    watch(module.SFTTrainer)


@after("openrlhf.trainer.rm_trainer")
def reward_model(module: Any) -> None:
    """`train_rm`."""
    watch(module.RewardModelTrainer)


@after("openrlhf.trainer.dpo_trainer")
def dpo(module: Any) -> None:
    """`train_dpo`."""
    watch(module.DPOTrainer)


@after("openrlhf.utils.deepspeed.deepspeed")
def saved_weights(module: Any) -> None:
    """Weights that were saved under a step's number, by whichever command: a folder `global_stepN_hf`."""
    strategy = module.DeepspeedStrategy
    save_model = strategy.save_model
    expect_parameters(save_model, "self", "model", "tokenizer", "output_dir", "kwargs")

    def save(self: Any, model: Any, tokenizer: Any, output_dir: str, **kwargs: Any) -> None:
        save_model(self, model, tokenizer, output_dir, **kwargs)
        if self.is_rank_0():
            guarded(_tell_saved, str(output_dir))

    strategy.save_model = save


def _tell_saved(folder: str) -> None:
    number = folder.rstrip("/").rpartition("global_step")[2].removesuffix("_hf")
    if number.isdigit():
        tell_event("save", int(number))


HOOKS = (sft, reward_model, dpo, saved_weights)
