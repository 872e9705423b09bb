"""Properties that hold for every log, whatever is in it: one log refutes each, and is shrunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from rlhf_assert.detect.anomaly import Severity
from rlhf_assert.testing.battery.claims import Claims
from rlhf_assert.testing.battery.feeding import Flaw, Make, Outcome, feed, feed_blocks
from rlhf_assert.testing.strategies import hostile_logs, sample, smallest
from rlhf_assert.testing.synthetic import Curve, Log, log_of
from rlhf_assert.testing.synthetic.log import as_columns

CONSTANTS = (0.0, 1.0, -1.0, 0.1, 1e-300, 1e300)
CONSTANT_ROWS = 200


def conduct_flaws(claims: Claims) -> Iterator[Flaw]:
    """Yield what is wrong with how a detector behaves: errors, reports, repeatability, foresight, constants."""
    hostile = hostile_logs((*claims.metrics, "some_other_metric"))
    planted = [finds.logs.map(lambda one: one.log) for finds in claims.finds]
    any_log: SearchStrategy[Log] = st.one_of(hostile, *planted, *claims.healthy)
    drawn = [
        *sample(hostile, claims.examples),
        *(one.log for planted in claims.planted for one in planted),
        *(log for logs in claims.calm for log in logs),
    ]
    make = claims.make
    properties: dict[str, Callable[[Log], str]] = {
        "keeps the protocol": lambda log: feed(make, log).error,
        "reports what was seen": lambda log: malformed(feed(make, log), log),
        "reports once": lambda log: repeated(feed(make, log)),
        "gives the same answer twice": lambda log: unrepeatable(make, log),
        "never looks ahead": lambda log: foreseen(make, log),
    }
    if hasattr(make(), "absorb"):
        properties["absorbs what it would pass over"] = lambda log: absorbed(make, log)
    for lacks, broken in properties.items():
        yield from refuted(lacks, broken, drawn, any_log)
    if not claims.fires_on_constants:
        yield from on_constants(claims)


def refuted(
    lacks: str, broken: Callable[[Log], str], drawn: Sequence[Log], strategy: SearchStrategy[Log]
) -> Iterator[Flaw]:
    """Yield the flaw that a counterexample among the drawn logs shows, with the smallest; nothing if there is none."""
    counterexample = next((log for log in drawn if broken(log)), None)
    if counterexample is None:
        return
    said: dict[int, str] = {}  # what is broken by chance is not broken when asked again

    def condition(log: Log) -> bool:
        answer = broken(log)
        if answer:
            said[id(log)] = answer
        return bool(answer)

    example = smallest(strategy, condition)
    if example is None:
        yield Flaw(lacks, broken(counterexample), counterexample)
    else:
        yield Flaw(lacks, said[id(example)], example)


def malformed(outcome: Outcome, log: Log) -> str:
    """Return what is wrong with a report, empty if nothing is."""
    for report in outcome.reports:
        anomaly = report.anomaly
        seen = {row.step for row in log[: report.row + 1]}
        if anomaly.onset not in seen:
            return f"at row {report.row}, an onset of step {anomaly.onset}, of which there was no row so far"
        severity: object = anomaly.severity
        if not isinstance(severity, Severity):
            return f"at row {report.row}, a severity of {severity!r}"
        if not anomaly.kind or not anomaly.summary or "\n" in anomaly.summary:
            return f"at row {report.row}, without a kind or a summary of one line"
    return ""


def repeated(outcome: Outcome) -> str:
    """Return which anomaly is reported again without having grown worse: the same, or in the row after."""
    worst: dict[tuple[str, str, int], Severity] = {}
    for report in outcome.reports:
        anomaly = report.anomaly
        key = (anomaly.kind, anomaly.metric, anomaly.onset)
        if key in worst and anomaly.severity <= worst[key]:
            return f"{anomaly.kind} of {anomaly.metric} from step {anomaly.onset} again at row {report.row}"
        worst[key] = anomaly.severity
    by_kind: dict[tuple[str, str], list[int]] = {}
    for report in outcome.reports:
        by_kind.setdefault((report.anomaly.kind, report.anomaly.metric), []).append(report.row)
    for (kind, metric), rows in by_kind.items():
        for first, second, third in zip(rows, rows[1:], rows[2:], strict=False):
            if third - first == 2:
                return f"{kind} of {metric} at rows {first}, {second} and {third}"
    return ""


def unrepeatable(make: Make, log: Log) -> str:
    """Return how the answers of fresh detectors to one log differ, each made after another one saw another log."""
    outcomes = []
    for level in (1e6, -1e6):
        for metric in dict.fromkeys(name for row in log for name in row.metrics):
            feed(make, log_of(Curve(rows=30, metric=metric, level=level, seed=1).series()))
        outcomes.append(feed(make, log))
    first, second = outcomes
    if first.identity == second.identity:
        return ""
    return (
        f"{len(first.reports)} reports, then {len(second.reports)} or others: instances share state, or chance decides"
    )


def foreseen(make: Make, log: Log) -> str:
    """Return which prefix of a log gives other reports than it does as a part of the whole, empty if none does."""
    whole = feed(make, log)
    for rows in sorted({len(log) // 4, len(log) // 2, 3 * len(log) // 4, len(log) - 1}):
        prefix = feed(make, log[:rows])
        if whole.error or prefix.error:
            return ""
        early = [report.identity for report in whole.reports if report.row < rows]
        if early != [report.identity for report in prefix.reports]:
            return f"the first {rows} of {len(log)} rows alone give other reports than as a part of the whole"
    return ""


def absorbed(make: Make, log: Log) -> str:
    """Return how the reports differ once calm rows are offered in blocks, empty if they do not."""
    alone = feed(make, tuple(as_columns(log)))  # with the metrics of each row in the same order as in blocks
    if alone.error:
        return ""
    blocks = feed_blocks(make, log)
    if alone.identity == blocks.identity:
        return ""
    return f"{len(alone.reports)} reports row by row, {len(blocks.reports)} or others once it absorbs blocks"


def on_constants(claims: Claims) -> Iterator[Flaw]:
    """Yield the first constant of each metric on which the detector fires."""
    for metric in claims.metrics:
        for level in CONSTANTS:
            log = log_of(Curve(rows=CONSTANT_ROWS, metric=metric, level=level).series())
            alarms = feed(claims.make, log).alarms(claims.severity)
            if alarms:
                detail = f"{alarms[0].anomaly.kind} of {metric} at row {alarms[0].row}"
                yield Flaw("is silent on constants", detail, log[: alarms[0].row + 1])
                break
