"""A battery of properties that a detector must have, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis.strategies import SearchStrategy

from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.errors import UsageError
from rlhf_assert.numbers import count
from rlhf_assert.recording.series import Series
from rlhf_assert.testing.battery.claims import Claims, Finds, Invariance, planted_metrics
from rlhf_assert.testing.battery.conduct import conduct_flaws
from rlhf_assert.testing.battery.cost import cost_flaws
from rlhf_assert.testing.battery.feeding import Flaw, Make
from rlhf_assert.testing.battery.invariance import invariance_flaws
from rlhf_assert.testing.battery.rates import rate_flaws
from rlhf_assert.testing.strategies import sample, series
from rlhf_assert.testing.strategies.anomalies import Healthy
from rlhf_assert.testing.synthetic import Anomalous, Log, log_of

__all__ = ["DetectorFlawed", "Finds", "Flaw", "check_detector"]

HEALTHY_ROWS = (40, 160)


class DetectorFlawed(AssertionError):
    """A detector lacks properties that it must have.

    Attributes:
        flaws: what it lacks, each with the smallest log that shows it.
    """

    def __init__(self, name: str, flaws: Sequence[Flaw]) -> None:
        self.flaws = tuple(flaws)
        super().__init__(
            "\n".join([f"{name}: {count(len(self.flaws), 'flaw')}", *(f"  {flaw}" for flaw in self.flaws)])
        )


def check_detector(
    make: Make,
    *,
    finds: Sequence[Finds | SearchStrategy[Anomalous]],
    healthy: Sequence[Healthy] = (),
    false_alarms: float = 0.05,
    severity: Severity = Severity.info,
    invariance: Invariance = "affine",
    fires_on_constants: bool = False,
    examples: int = 100,
) -> None:
    """Try a detector on what our strategies draw; nothing is random, so the answer is always the same.

    It must survive any floats and steps; report anomalies that are well formed, have an onset that was seen, and are
    not reported again (again means the same kind, metric and onset without a higher severity, or the same kind and
    metric in three rows in succession); give the same answer twice, whatever other instances saw; never look ahead: the
    reports of a prefix are those of the whole up to there; find what was planted in the stated share of logs, in time
    and at its onset, also after values that are no numbers; be silent on constants and, but for the stated share, on
    healthy logs; not depend on the units of the metric; and take memory and time that do not grow with the log.

    Args:
        make: returns a fresh detector, for example its class.
        finds: what it finds; a bare strategy stands for `Finds` of it. A detector that cannot fire never passes.
        healthy: logs on which it must be silent; by default single metrics of 40 to 160 rows with trends,
            autocorrelation, heavy tails, rounding, gaps and so on, one strategy for each metric in `finds`.
        false_alarms: share of the healthy logs that it may flag.
        severity: least severity that counts as a false alarm.
        invariance: `affine` if neither factor nor offset of the metric matter, `scale` if only the factor does not,
            `none` if the detector knows the unit.
        fires_on_constants: whether metrics that stand still are its job.
        examples: logs that are drawn for each property; fewer are faster and tell less.

    Power, false alarms, units and costs are tried once all the rest holds.

    Raises:
        DetectorFlawed: it lacks at least one property; the message has a line for each, and the smallest log.
        UsageError: nothing to find was given, or `make` is a detector and not what makes one.
    """
    __tracebackhide__ = True
    if not callable(make):
        raise UsageError("check_detector takes what makes a fresh detector, such as its class, and not a detector")
    if not finds:
        raise UsageError("check_detector: finds is empty, but a detector must find something")
    stated = tuple(one if isinstance(one, Finds) else Finds(logs=one) for one in finds)
    planted = tuple(tuple(sample(find.logs, examples)) for find in stated)
    metrics = planted_metrics(planted)
    least, most = HEALTHY_ROWS
    strategies: list[SearchStrategy[Log]] = [
        strategy.map(_log)
        for strategy in healthy or [series(one, min_rows=least, max_rows=most, noisy=True) for one in metrics]
    ]
    claims = Claims(
        make=make,
        finds=stated,
        planted=planted,
        healthy=tuple(strategies),
        calm=tuple(tuple(sample(strategy, examples)) for strategy in strategies),
        metrics=metrics,
        false_alarms=false_alarms,
        severity=severity,
        invariance=invariance,
        fires_on_constants=fires_on_constants,
        examples=examples,
    )
    flaws = [*conduct_flaws(claims)] or [*rate_flaws(claims), *invariance_flaws(claims), *cost_flaws(claims)]
    if flaws:
        raise DetectorFlawed(make().name, flaws)


def _log(drawn: Series | Log | Anomalous) -> Log:
    return drawn.log if isinstance(drawn, Anomalous) else log_of(drawn)
