"""NaN, infinities, and nulls: frameworks log null where every value was NaN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec
from rlhf_assert.recording.encoding import all_finite
from rlhf_assert.recording.rows import Block

CRITICAL_METRICS = frozenset(
    {
        "kl_div",
        "policy_loss",
        "value_loss",
        "loss",
        "reward",
        "reward_std",
        "entropy",
        "grad_norm",
        "advantage",
        "advantage_std",
        "chosen_reward",
        "rejected_reward",
        "reward_margin",
    }
)
"""A non-finite value in one of these has reached, or will reach, the weights; in any other metric it may be the
metric's own (an average over no completions, say)."""


@dataclass(slots=True)
class NonFinite:
    """Reports each metric once, at its first non-finite value."""

    name: str = "non-finite"
    _seen: set[str] = field(default_factory=set)

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row; an invariant, so it needs no history and raises no false alarm."""
        if all_finite(metrics):
            return []
        anomalies: list[Anomaly] = []
        for metric, value in metrics.items():
            # value - value is 0 for every finite float, and NaN for NaN and the infinities
            if (value is None or value - value != 0.0) and metric not in self._seen:
                self._seen.add(metric)
                anomalies.append(_anomaly(step, metric, value))
        return anomalies

    def absorb(self, block: Block) -> bool:  # noqa: ARG002 - the protocol's
        """Take a block, which holds finite values only."""
        return True


def _anomaly(step: int, metric: str, value: float | None) -> Anomaly:
    what = "null" if value is None else "nan" if value != value else "inf" if value > 0 else "-inf"  # noqa: PLR0124
    return Anomaly(
        kind="non-finite",
        metric=metric,
        severity=Severity.critical if metric in CRITICAL_METRICS else Severity.warning,
        onset=step,
        summary=f"not finite at step {step}: {what}",
        evidence={"value": what},
        causes=_causes(metric),
        remedy="find the first non-finite tensor with torch.autograd.set_detect_anomaly(True), and go back to a "
        "checkpoint from before this step",
    )


def _causes(metric: str) -> tuple[str, ...]:
    if "reward" in metric:
        return ("the reward function returned NaN, None or an infinity", "a reward model that overflowed")
    if metric in CRITICAL_METRICS:
        return ("the learning rate is too high", "an overflow in half precision", "a NaN in one batch")
    return ("an average over nothing", "an overflow in half precision")


SPEC = DetectorSpec("non-finite", lambda _: NonFinite())
