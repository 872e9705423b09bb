"""What must hold at step 1, before the first update: identities of the algorithm, not statistics.

The policy still is the reference and the policy that sampled, so the KL to the reference is 0, the importance ratio
is 1, and the logistic loss of DPO is ln 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlhf_assert.detect.anomaly import Anomaly, Severity
from rlhf_assert.detect.detector_spec import DetectorSpec

LN2 = math.log(2.0)
TOLERANCE = 0.01
"""Nats. Healthy runs show at most 2e-7 for a sequence sum (PPO) and exactly 0 for a mean per token (GRPO), .005 in
half precision; a reference that is not the policy shows .15 to 4."""
STRANGER = 0.8
STRANGER_SUM = 1.0
"""Nats per token, and per sequence beside a value loss: from here on it is a warning in a stranger's log too.
References that differ by quantisation only show up to .61 per token."""


@dataclass(slots=True)
class StepOne:
    """Checks the identities of step 1; a log that begins later, or whose first row averages over steps, is not judged.

    Args:
        algorithm: see `default_detectors`; the loss is only judged for `dpo`.
        config: the trainer's hyper-parameters. Without any, the log is a stranger's, whose reference may differ from
            the policy on purpose (quantised, say): what would be critical is then an info.
    """

    algorithm: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    name: str = "step-one"
    _done: bool = False
    _reported: set[str] = field(default_factory=set)

    @property
    def finished(self) -> bool:
        """Whether no later row can make it report."""
        return self._done

    def update(self, step: int, metrics: Mapping[str, float | None]) -> list[Anomaly]:
        """Take one row."""
        if self._done or step > 1:
            self._done = True
            return []
        if step < 1:
            return []  # an evaluation before the first step
        every = [*self._kl(metrics), *self._ratio(metrics), *self._loss(metrics)]
        anomalies = [anomaly for anomaly in every if anomaly.metric not in self._reported]  # step 1 may have many rows
        self._reported.update(anomaly.metric for anomaly in anomalies)
        return anomalies

    @property
    def _severity(self) -> Severity:
        return Severity.critical if self.config else Severity.info

    def _kl(self, metrics: Mapping[str, float | None]) -> Iterator[Anomaly]:
        value = metrics.get("kl_div")
        if value is not None and TOLERANCE < abs(value) < math.inf:
            far = abs(value) > (STRANGER if metrics.get("value_loss") is None else STRANGER_SUM)
            yield Anomaly(
                kind="step-one-kl",
                metric="kl_div",
                severity=max(self._severity, Severity.warning) if far else self._severity,
                onset=1,
                summary=f"{value:.3g} at step 1, where the policy still is the reference: must be 0",
                evidence={"value": value, "tolerance": TOLERANCE},
                causes=(
                    "the reference has other weights than the policy",
                    "dropout is on while log-probabilities are computed",
                    "policy and reference differ in precision or quantisation",
                ),
                remedy="load policy and reference from the same checkpoint in the same dtype, with dropout 0",
            )

    def _ratio(self, metrics: Mapping[str, float | None]) -> Iterator[Anomaly]:
        value = metrics.get("ratio")
        if value is None or not math.isfinite(value):
            return
        batches = _integer(self.config.get("num_mini_batches"))
        updates = batches * _integer(self.config.get("num_ppo_epochs")) if self.config else None
        # The average covers the updates of the first batch too, which move the ratio; one update leaves it at 1.
        tolerance = 0.001 if updates == 1 else 0.1
        if abs(value - 1.0) <= tolerance:
            return
        divisors = (batches,) if self.config else (2, 4, 8, 16)
        divisor = next((k for k in divisors if k > 1 and abs(value * k - 1.0) <= 0.1), None)
        if divisor is not None:
            yield Anomaly(
                kind="metric-divided",
                metric="ratio",
                severity=Severity.info,
                onset=1,
                summary=f"{value:.4g} at step 1, that is 1/{divisor}: the trainer divides its averages by the "
                f"{divisor} mini-batches",
                evidence={"value": value, "divisor": divisor},
                causes=("TRL issue 7012: PPO's averages are divided by num_mini_batches",),
                remedy=f"multiply the PPO averages (ratio, entropy, value_loss) by {divisor}, or set "
                "num_mini_batches=1; the training itself is not affected",
            )
            return
        yield Anomaly(
            kind="step-one-ratio",
            metric="ratio",
            severity=self._severity if updates == 1 else Severity.warning,
            onset=1,
            summary=f"{value:.4g} at step 1, where the policy still is the one that sampled: must be 1",
            evidence={"value": value, "tolerance": tolerance},
            causes=(
                "sampling and training disagree: temperature, top-p, dropout or precision",
                "the learning rate is so high that the first batch's own updates move the policy far",
            ),
            remedy="compare log-probabilities of one batch in rollout and training, at the same temperature and dtype",
        )

    def _loss(self, metrics: Mapping[str, float | None]) -> Iterator[Anomaly]:
        value = metrics.get("loss")
        if self.algorithm != "dpo" or value is None or not math.isfinite(value) or not _logistic(self.config):
            return
        if abs(value - LN2) > TOLERANCE:
            yield Anomaly(
                kind="step-one-loss",
                metric="loss",
                severity=self._severity,
                onset=1,
                summary=f"{value:.4g} at step 1, where the policy still is the reference: must be ln 2 = 0.6931",
                evidence={"value": value, "expected": LN2, "tolerance": TOLERANCE},
                causes=("the reference has other weights than the policy", "dropout is on", "beta is extreme"),
                remedy="load policy and reference from the same checkpoint in the same dtype, with dropout 0",
            )


def _logistic(config: Mapping[str, Any]) -> bool:
    """Return whether the DPO loss is the plain logistic one, as far as the configuration tells."""
    kind = config.get("loss_type") or "sigmoid"
    kinds = [kind] if isinstance(kind, str) else list(kind)
    return kinds == ["sigmoid"] and not any(config.get(name) for name in ("rpo_alpha", "use_weighting", "loss_weights"))


def _integer(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1


SPEC = DetectorSpec("step-one", lambda context: StepOne(context.algorithm, context.config))
