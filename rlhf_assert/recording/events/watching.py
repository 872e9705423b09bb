"""Events of one process: what was seen of its updates, batches, rewards and reference."""

from __future__ import annotations

from rlhf_assert.recording.events.event import Event, OfStep, event


@event("update")
class Update(OfStep):
    """The optimizer made one update, seen at the optimizer itself.

    Attributes:
        model: what is trained, where there are several: `actor` or `critic`.
        written: number of trained tensors that changed since the update before, so by other hands.
        learning_rate: the learning rate that was applied.
        scheduled: the learning rate that the schedule says, or null without a schedule.
        grad_norm: norm of the gradient that was applied, so after clipping.
        without_gradient: number of trained tensors that have no gradient.
        tensors: number of trained tensors.
        stopped: number of tensors that moved in every update before, and not since.
        optimizer_step: Adam's count of its steps, or null for an optimizer that does not count.
    """

    model: str | None = None
    written: int | None = None
    learning_rate: float | None
    scheduled: float | None
    grad_norm: float | None
    without_gradient: int | None = None
    tensors: int | None = None
    stopped: int | None = None
    optimizer_step: int | None


@event("batch")
class Batch(OfStep):
    """A step is about to be trained on a batch (in PPO this is not recorded).

    Attributes:
        digest: hash of the batch.
    """

    digest: str


@event("objective")
class Objective(OfStep):
    """What PPO optimized in a step: it logs only the parts.

    Attributes:
        loss: the whole loss.
    """

    loss: float


@event("rescored")
class Rescored(OfStep):
    """The last batch was scored a second time, after the training.

    Attributes:
        first: the rewards of the training, one for each completion.
        second: the rewards of the second scoring, in the same order.
    """

    first: tuple[float, ...]
    second: tuple[float, ...]


@event("rescoring_failed")
class RescoringFailed(Event):
    """The last batch could not be scored a second time.

    Attributes:
        reason: type and message of the exception.
    """

    reason: str | None


@event("reward_normalization")
class RewardNormalization(Event):
    """A reward model told by which numbers it normalizes: reward less mean, over deviation.

    Attributes:
        mean: the mean that it uses.
        std: the standard deviation that it uses.
        saved_mean: the mean of its configuration.
        saved_std: the standard deviation of its configuration.
    """

    mean: float
    std: float
    saved_mean: float
    saved_std: float


@event("reference_fingerprint")
class ReferenceFingerprint(Event):
    """The reference's weights, when the training begins and when it ends.

    Attributes:
        fingerprint: hash of the weights.
    """

    fingerprint: str


@event("reference_moved")
class ReferenceMoved(Event):
    """The reference's weights changed in this step.

    Attributes:
        fingerprint: hash of the weights that it has now, where it is known.
    """

    fingerprint: str | None = None


@event("reference_logprob")
class ReferenceLogprob(OfStep):
    """What the reference says of the chosen answers of a batch (DPO and KTO).

    Attributes:
        chosen: mean over the answers of their log-probability, the sum over an answer's tokens, in nats.
    """

    chosen: float


@event("average_moved")
class AverageMoved(Event):
    """An average of the policy's weights (EMA) moved when it must not, or further than its coefficient says.

    Attributes:
        reason: which of the two.
    """

    reason: str | None = None
