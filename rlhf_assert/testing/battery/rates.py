"""Properties that hold for a share of the logs: power, false alarms. Each is a test whose null is the stated share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import comb, inf, nan

from rlhf_assert.numbers import share
from rlhf_assert.recording.rows import Row
from rlhf_assert.testing.battery.claims import Claims, Finds
from rlhf_assert.testing.battery.feeding import Flaw, Outcome, feed
from rlhf_assert.testing.strategies import smallest
from rlhf_assert.testing.synthetic import Anomalous, Planted
from rlhf_assert.testing.synthetic.planted import REMOVED

CHANCE = 0.001
"""Chance with which a detector that is exactly as good as it states is found wanting, in each test."""
MIN_BEFORE = 8
"""Rows before the onset that a log needs to have gaps put among them."""


def rate_flaws(claims: Claims) -> Iterator[Flaw]:
    """Yield where power, onsets or false alarms are not as stated.

    The null hypothesis is that the stated share is the true one over the logs that the strategy draws, and a flaw is a
    count with a binomial tail under `CHANCE`. With 100 logs, a power of .9 fails at 79 found or fewer, a false-alarm
    rate of .05 at 14 flagged or more; what lies between is not told from what was stated.
    """
    for finds, planted in zip(claims.finds, claims.planted, strict=True):
        yield from _finds_flaws(claims, finds, planted)
    for healthy, drawn in zip(claims.healthy, claims.calm, strict=True):
        flagged = [log for log in drawn if feed(claims.make, log).alarms(claims.severity)]
        if tail_above(len(flagged), len(drawn), claims.false_alarms) < CHANCE:
            example = smallest(healthy, lambda log: bool(feed(claims.make, log).alarms(claims.severity)))
            detail = f"flags {len(flagged)} of {len(drawn)} healthy logs, stated {share(claims.false_alarms)}"
            yield Flaw("is silent on health", detail, example or flagged[0])


def _finds_flaws(claims: Claims, finds: Finds, drawn: tuple[Anomalous, ...]) -> Iterator[Flaw]:
    what = f"{drawn[0].planted[0].kind} of {drawn[0].planted[0].metric or 'the steps'}"

    def missed(one: Anomalous) -> bool:
        return row_found(feed(claims.make, one.log), one.planted[0], finds) is None

    hits = [one for one in drawn if not missed(one)]
    if tail_below(len(hits), len(drawn), finds.power) < CHANCE:
        detail = f"{what}: {len(hits)} of {len(drawn)} within {finds.delay} rows, stated {share(finds.power)}"
        example = smallest(finds.logs, missed)
        yield Flaw("finds what was planted", detail, example.log if example else ())
        return
    if finds.onset_within is not None:

        def misplaced(one: Anomalous) -> bool:
            return not missed(one) and onset_off(claims, finds, one) > (finds.onset_within or 0)

        wrong = sum(map(misplaced, hits))
        if tail_below(len(hits) - wrong, len(hits), finds.power) < CHANCE:
            example = smallest(finds.logs, misplaced)
            detail = f"{what}: {wrong} of {len(hits)} onsets are more than {finds.onset_within} rows off"
            yield Flaw("tells the onset", detail, example.log if example else ())
    gapped = [with_gaps(one) for one in hits if one.planted[0].row >= MIN_BEFORE and one.planted[0].kind not in REMOVED]
    blind = [one for one in gapped if missed(one)]
    if tail_above(len(blind), len(gapped), 1.0 - finds.power) < CHANCE:
        detail = (
            f"{what}: {len(blind)} of {len(gapped)} that it finds are missed after a NaN, an infinity, a null and a gap"
        )
        yield Flaw("is not blinded", detail, min((one.log for one in blind), key=len))


def row_found(outcome: Outcome, planted: Planted, finds: Finds) -> int | None:
    """Return the row at which what was planted is reported in time, None if it is not."""
    rows = (report.row for report in outcome.alarms(finds.severity))
    return next((row for row in rows if planted.row <= row <= planted.row + finds.delay), None)


def onset_off(claims: Claims, finds: Finds, one: Anomalous) -> float:
    """Return how many rows the best onset of the reports in time lies from the planted one."""
    planted, index = one.planted[0], {row.step: place for place, row in reversed(list(enumerate(one.log)))}
    return min(
        (
            abs(index.get(report.anomaly.onset, inf) - planted.row)
            for report in feed(claims.make, one.log).alarms(finds.severity)
            if planted.row <= report.row <= planted.row + finds.delay
        ),
        default=inf,
    )


def with_gaps(one: Anomalous) -> Anomalous:
    """Return the log with four more rows before the onset, in which the metric is NaN, infinite, null or not there."""
    planted = one.planted[0]
    log = list(one.log)
    places = [planted.row * part // 5 for part in (4, 3, 2, 1)]
    metric = planted.metric or next(iter(log[0].metrics))
    for place, value in zip(places, (nan, inf, None, "absent"), strict=True):
        metrics = {name: old for name, old in log[place].metrics.items() if name != metric}
        if not isinstance(value, str):
            metrics[metric] = value
        log.insert(place, Row(log[place].step, None, metrics))
    moved = replace(planted, row=planted.row + len(places))
    return replace(one, log=tuple(log), planted=(moved, *one.planted[1:]))


def tail_below(count: int, trials: int, chance: float) -> float:
    """Return the probability of `count` successes or fewer."""
    return sum(comb(trials, k) * chance**k * (1.0 - chance) ** (trials - k) for k in range(count + 1))


def tail_above(count: int, trials: int, chance: float) -> float:
    """Return the probability of `count` successes or more."""
    return sum(comb(trials, k) * chance**k * (1.0 - chance) ** (trials - k) for k in range(count, trials + 1))
