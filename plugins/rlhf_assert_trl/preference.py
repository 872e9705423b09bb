"""What the reference says of chosen answers: with it, the coefficient of DPO and KTO shows in their own log.

Both log the reward of a chosen answer, which is `beta` times its log-ratio to the reference, and its log-probability
under the policy, and leave out the third.
"""

from __future__ import annotations

from typing import Any

import torch  # noqa: TID253 - only imported by who has torch in memory already

from rlhf_assert.recording.events import ReferenceLogprob
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert_trl.samples import Observer

MOST_BYTES = 1 << 28
"""Bytes of logits that are looked at; a larger batch (long answers, a large vocabulary) is not."""


class ReferenceLogprobs:
    """Records, for each batch, an event `reference_logprob` with the mean `chosen` log-probability of a whole answer.

    Args:
        trainer: a trainer of preferences with a reference model of its own.
        observer: watches its loss.
        recording: takes the events.
    """

    def __init__(self, trainer: Any, observer: Observer, recording: LiveRecording) -> None:
        self._trainer = trainer
        self._recording = recording
        self._observer = observer
        self._forwards: list[tuple[Any, Any]] = []
        observer.watch("_compute_loss", self._see_loss, before=self._forwards.clear)
        self._hook = trainer.ref_model.register_forward_hook(self._see_forward, with_kwargs=True)

    def close(self) -> None:
        """Leave the reference model as it was; the loss is its observer's."""
        self._hook.remove()

    def _see_forward(self, _: Any, __: Any, given: dict[str, Any], output: Any) -> None:
        logits = getattr(output, "logits", None)
        if logits is not None and logits.numel() * logits.element_size() <= MOST_BYTES:
            self._forwards.append((given.get("input_ids"), logits))

    def _see_loss(self, _: Any, model: Any, inputs: dict[str, Any], *__: Any) -> None:
        ids, mask = inputs["input_ids"], inputs["completion_mask"]
        logits = next((logits for seen, logits in self._forwards if seen is ids), None)
        self._forwards.clear()
        chosen = _chosen(inputs, len(ids))
        if logits is None or not model.training or not chosen.any():
            return
        logits, ids, mask = logits[chosen], ids[chosen], mask[chosen]
        tokens = logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(2)
        mean = float((tokens * mask[:, 1:]).sum(1).mean())
        self._recording.event(ReferenceLogprob(step=self._trainer.state.global_step + 1, chosen=mean))


def _chosen(inputs: dict[str, Any], rows: int) -> Any:
    """Return which rows are chosen answers, shape (rows,): KTO labels them, in DPO they are the first half."""
    if "label" in inputs:
        return torch.as_tensor(inputs["label"], dtype=torch.bool)
    return torch.arange(rows) < rows // 2
