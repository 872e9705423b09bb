"""Tells rlhf-assert what a training does: one JSON line for each thing that happens, appended to `RLHF_ASSERT_FEED`.

A line holds `kind`, its fields (see `record_metrics` and `record_samples`), and `seconds`: how long the hooks of this
process have held up the training since its last line. `rlhf_assert_openrlhf.feed` reads them.
The hooks sit on the two plain classes that every algorithm of `train_ppo_ray` goes through, the experience maker and
the TensorBoard logger (`command` sets `logger.tensorboard_dir` where it is not): methods that the trainers inherit are
copied when Ray decorates them, so replacing those is ignored. What a hook does wrong becomes a line of kind `failure`,
never an error of the training.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any, Literal

from rlhf_assert_openrlhf.inside.post_import import after, expect_parameters

MAX_PER_STEP = 256
"""Samples recorded per step, the first ones of the batch: whole groups, and bounded disk for a long run."""
TEXT_LENGTH = 80
NOWHERE = "rlhf-assert"
"""The folder of a TensorBoard logger that writes no files."""

_waiting: list[dict[str, Any]] = []
"""The samples, and the metrics of the last experience, until the logger tells the step that they belong to."""
_spent = 0.0
"""Seconds that hooks took and that no line has told yet."""
_counting = False
"""Whether a hook of the main thread runs."""

at_log: list[Callable[[int, dict[str, Any]], None]] = []
"""Other modules' functions that are called with a step and its metrics, just before these are told; they may add."""

with_trainer: list[Callable[[Any], None]] = []
"""Other modules' functions that are called with the trainer that directs all models, once it is made."""


def tell(kind: str, **fields: Any) -> None:
    """Append one line to the feed, in a single write."""
    global _spent  # noqa: PLW0603 - one clock per process
    line = json.dumps({"kind": kind, **fields, "seconds": _spent}, default=_plain) + "\n"
    _spent = 0.0
    descriptor = os.open(os.environ["RLHF_ASSERT_FEED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def record_metrics(step: int, logs: dict[str, Any]) -> None:
    """Tell the samples that led to a step (`samples`), and every metric that it logged (`metrics`)."""
    derived: dict[str, Any] = {}
    for own, batch in enumerate(_waiting, step - len(_waiting) + 1):  # more than one where not every step is logged
        tell("samples", step=own, records=batch["records"])
        derived.update(batch["metrics"])
    _waiting.clear()
    numbers = {key: value for key, value in logs.items() if key != "generated_samples" and value is not None}
    for function in at_log:
        guarded(function, step, numbers)
    tell("metrics", step=step, metrics=numbers | derived)


def tell_event(name: str, step: int | Literal["last"] | None = None, **fields: Any) -> None:
    """Tell an event of the run directory; a process that knows of no step says "last", which is the last one logged."""
    tell("event", name=name, step=None if step == "last" else step, last=step == "last", fields=fields)


def record_samples(experiences: Any, tokenizer: Any, *, reference: bool) -> None:
    """Keep one record per sample of a batch of experiences: the fields of `recording.run.Samples`, and some more.

    `rollout_logprob` is the mean log-probability per token that the engine reported, `logprob` the same by the trainer;
    `return` is what a critic is to estimate, the mean over tokens, with the KL penalty in it; `reward` is what the
    reward function or model said.

    Args:
        experiences: what `RemoteExperienceMaker.make_experience_batch` returned.
        tokenizer: decodes the completions.
        reference: whether there is a reference model.
    """
    records: list[dict[str, Any]] = []
    moments = _Moments()
    for experience in experiences:
        mask = experience.action_mask.bool()
        moments.add(experience, mask)
        columns = {
            "advantage": _masked_means(experience.advantages, mask),
            "logprob": _masked_means(experience.action_log_probs, mask),
            "rollout_logprob": _masked_means(experience.rollout_log_probs, mask),
            "value": _masked_means(experience.values, mask),
            "difference": _list(experience.info.get("logprobs_diff")) if reference else None,
            "return": _masked_means(experience.returns, mask),
            "score": _list(experience.info.get("score")),
        }
        rows = min(len(experience.prompts), MAX_PER_STEP - len(records))
        plain = {
            "length": experience.response_length[:rows].int().tolist(),
            "truncated": experience.truncated[:rows].float().tolist(),
            "reward": experience.rewards[:rows].float().tolist(),
            "text": _texts(experience.sequences[:rows, 1:], mask[:rows], tokenizer),
        }
        for row, prompt in enumerate(experience.prompts[:rows]):
            own = {name: None if column is None else column[row] for name, column in columns.items()}
            difference, logprob = own.pop("difference"), own["logprob"]
            records.append(
                {
                    "prompt": hashlib.blake2b(str(prompt).encode(errors="replace"), digest_size=6).hexdigest(),
                    **{name: column[row] for name, column in plain.items()},
                    "ref_logprob": None if difference is None or logprob is None else logprob - difference,
                    **own,
                }
            )
    _waiting.append({"records": records, "metrics": moments.metrics()})


class _Moments:
    """Sums over the tokens of a batch, for what OpenRLHF does not log itself."""

    def __init__(self) -> None:
        self._advantages: list[Any] = []
        self._values: list[Any] = []
        self._returns: list[Any] = []
        self._surprises: list[Any] = []

    def add(self, experience: Any, mask: Any) -> None:
        self._advantages.append(experience.advantages[mask].float())
        if experience.rollout_log_probs is not None:
            self._surprises.append(-experience.rollout_log_probs[mask].float())
        if experience.values is not None:
            self._values.append(experience.values[mask].float())
            self._returns.append(experience.returns[mask].float())

    def metrics(self) -> dict[str, float]:
        """Return `advantage`, `advantage_std`, and what else there is.

        With a critic, `explained_variance`: 1 - var(R - V) / var(R). With log-probabilities of the engine,
        `rollout/entropy`: the mean surprise of its tokens in nats.
        """
        import torch

        advantages = torch.cat(self._advantages)
        moments = {"advantage": float(advantages.mean()), "advantage_std": float(advantages.std(correction=0))}
        if self._surprises:
            moments["rollout/entropy"] = float(torch.cat(self._surprises).mean())
        if self._values:
            values, returns = torch.cat(self._values), torch.cat(self._returns)
            variance = float(returns.var(correction=0))
            residual = float((returns - values).var(correction=0))
            moments["explained_variance"] = 1.0 - residual / variance if variance > 0.0 else float("nan")
        return moments


def _texts(tokens: Any, mask: Any, tokenizer: Any) -> list[str]:
    """Return the beginning of each row's text under the mask, both (batch, tokens)."""
    kept = mask & (mask.cumsum(1) <= TEXT_LENGTH)  # no more is decoded than is kept: a token is a character at least
    flat = iter(tokens[kept].tolist())
    rows = [list(islice(flat, count)) for count in kept.sum(1).tolist()]
    backend = getattr(tokenizer, "backend_tokenizer", None)  # which decodes a batch in a tenth of the time
    decode = tokenizer.batch_decode if backend is None else backend.decode_batch
    return [text[:TEXT_LENGTH] for text in decode(rows, skip_special_tokens=True)]


def _masked_means(values: Any, mask: Any) -> list[float | None] | None:
    """Return the mean of each row's values under the mask, both (batch, tokens); None without a token."""
    if values is None:
        return None
    counts = mask.sum(1)
    means = ((values.float() * mask).sum(1) / counts.clamp(min=1)).tolist()
    return [mean if count else None for mean, count in zip(means, counts.tolist(), strict=True)]


def _list(column: Any) -> list[float] | None:
    return None if column is None else column.float().tolist()


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def guarded(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call a function; what it raises is told, and goes no further."""
    global _counting, _spent  # noqa: PLW0603
    # What another thread does holds up nothing, and a hook within a hook is counted once.
    counts = not _counting and threading.current_thread() is threading.main_thread()
    _counting, begun = _counting or counts, time.perf_counter()
    try:
        function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - a training must not break because its recording did
        said = str(error).strip().partition("\n")[0]
        with contextlib.suppress(OSError):  # a full disk: nothing can be told
            tell("failure", of=function.__name__, message=f"{function.__name__}: {type(error).__name__}: {said}")
    if counts:
        _counting = False
        _spent += time.perf_counter() - begun


@after("openrlhf.trainer.ppo_utils.experience_maker")
def experience(module: Any) -> None:
    """Every batch of experiences, complete with advantages."""
    maker = module.RemoteExperienceMaker
    original = maker.make_experience_batch
    expect_parameters(original, "self", "rollout_samples")

    def make_experience_batch(self: Any, rollout_samples: Any) -> Any:
        experiences = original(self, rollout_samples)
        reference = self.initial_model_group is not None and not self.args.algo.kl.use_loss
        guarded(record_samples, experiences, self.tokenizer, reference=reference)
        return experiences

    maker.make_experience_batch = make_experience_batch


@after("openrlhf.utils.logging_utils")
def logged_metrics(module: Any) -> None:
    """Every metric that is logged; TensorBoard's own files are written where the user gave it a folder."""
    original = module.TensorboardLogger
    expect_parameters(module.TensorboardLogger.log_train, "self", "global_step", "logs_dict")
    expect_parameters(module.TensorboardLogger.log_eval, "self", "global_step", "logs_dict")

    class Logger:
        def __init__(self, args: Any) -> None:
            self._own = None if args.logger.tensorboard_dir == NOWHERE else original(args)

        def log_train(self, global_step: int, logs_dict: dict[str, Any]) -> None:
            guarded(record_metrics, global_step, logs_dict)
            if self._own:
                self._own.log_train(global_step, logs_dict)

        def log_eval(self, global_step: int, logs_dict: dict[str, Any]) -> None:
            guarded(tell, "evaluation", step=global_step, metrics=logs_dict)
            if self._own:
                self._own.log_eval(global_step, logs_dict)

        def close(self) -> None:
            guarded(tell, "end")
            if self._own:
                self._own.close()

    module.TensorboardLogger = Logger


@after("openrlhf.trainer.ppo_trainer")
def trainer(module: Any) -> None:
    """The trainer that directs all models, whatever its kind: Ray does not copy what its own `__init__` calls."""
    base = module.BasePPOTrainer
    original = base.__init__
    expect_parameters(
        original,
        *("self", "strategy", "actor_model_group", "critic_model_group", "reward_model_group"),
        *("reference_model_group", "vllm_engines", "tokenizer"),
    )

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        for function in with_trainer:
            guarded(function, self)

    base.__init__ = initialise


HOOKS = (trainer, experience, logged_metrics)
