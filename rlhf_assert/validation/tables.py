"""A validation's results as tables of text cells, which the terminal, markdown and the docs all show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf, isnan

from rlhf_assert.numbers import count
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.validation.intervals import Median, Rate, median, rate
from rlhf_assert.validation.log_faults import LOG_FAULTS
from rlhf_assert.validation.log_score import LogScore
from rlhf_assert.validation.scorecard import AblationRow, Summary, by_fault, by_source
from rlhf_assert.validation.signs import Sign


@dataclass(frozen=True, slots=True)
class Table:
    """A title, what its columns are, and its rows."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def confusion(summary: Summary) -> Table:
    """Return the confusion matrix."""
    rows = (
        ("fault", str(summary.recall.hits), str(summary.recall.total - summary.recall.hits)),
        ("healthy", str(summary.false_alarms.hits), str(summary.false_alarms.total - summary.false_alarms.hits)),
    )
    return Table("Confusion matrix", ("trained with", "flagged", "not flagged"), rows)


def contenders(summaries: Sequence[Summary]) -> Table:
    """Return a row for each contender."""
    rows = tuple(
        (
            summary.contender,
            rate_text(summary.recall),
            rate_text(summary.false_alarms),
            rate_text(summary.early),
            rate_text(summary.right) if summary is summaries[0] else "",
            delay_text(summary.abrupt),
            delay_text(summary.gradual),
        )
        for summary in summaries
    )
    columns = (
        "by",
        "faults found",
        "healthy runs flagged",
        "flagged before the fault",
        "by a right check",
        "delay, abrupt faults",
        "delay, gradual faults",
    )
    return Table("Found and falsely alarmed", columns, rows)


def faults(summary: Summary) -> Table:
    """Return a row for each fault."""
    rows = tuple(
        (
            row.fault,
            "abrupt" if FAULTS[row.fault].abrupt else "gradual",
            ", ".join(name.removeprefix("trl-") for name in row.scenarios),
            rate_text(row.recall),
            delay_text(row.delay),
            ", ".join(f"{source} {number}" for source, number in row.by) or "nothing",
        )
        for row in by_fault(summary)
    )
    return Table("By fault", ("fault", "onset", "scenarios", "found", "delay", "found first by"), rows)


def sources(summary: Summary) -> Table:
    """Return a row for each detector and check that told anything."""
    rows = tuple(
        (
            row.source,
            str(row.found),
            str(row.first),
            str(row.alone),
            delay_text(row.delay),
            str(row.false_alarms),
        )
        for row in by_source(summary)
    )
    columns = ("detector or check", "found", "first", "alone", "delay", "healthy runs flagged")
    return Table("By detector", columns, rows)


def log_faults(scores: Sequence[LogScore]) -> Table:
    """Return a row for each fault that was planted in logs."""
    rows = []
    for name in dict.fromkeys(score.fault for score in scores):
        its = [score for score in scores if score.fault == name]
        hits = [score for score in its if score.finders]
        first = Counter(next(iter(score.finders)) for score in hits)
        missed = ", ".join(score.scenario.removeprefix("trl-") for score in its if not score.finders)
        rows.append(
            (
                LOG_FAULTS[name].summary,
                rate_text(rate(len(hits), len(its))),
                delay_text(median([inf if score.delay is None else score.delay for score in its])),
                ", ".join(f"{source} {number}" for source, number in first.most_common()) or "nothing",
                missed or "nowhere",
            )
        )
    columns = ("in the rows of a long healthy log", "found", "delay", "found first by", "missed in")
    return Table("Planted in logs", columns, tuple(rows))


def calibration(points: Sequence[tuple[float, Rate]]) -> Table:
    """Return a row for each budget."""
    rows = tuple((f"{budget:g}", rate_text(observed)) for budget, observed in points)
    return Table("Calibration", ("budget for a warning", "healthy runs with a warning"), rows)


def ablation(rows: Sequence[AblationRow]) -> Table:
    """Return a row for each detector and check, with what is lost without it."""
    cells = tuple(
        (
            row.source,
            str(len(row.lost)),
            str(len(row.later)),
            str(len(row.among_rows)),
            str(len(row.in_logs)),
            ", ".join(
                dict.fromkeys(
                    [score.fault.kind for score in (*row.lost, *row.later, *row.among_rows)]
                    + [score.fault for score in row.in_logs]
                )
            )
            or "nothing",
        )
        for row in rows
    )
    columns = ("detector or check", "not found", "found later", "of what rows alone show", "planted in logs", "faults")
    return Table("Without it", columns, cells)


def misses(summary: Summary) -> Table:
    """Return a row for each training that was judged wrongly, with what was told instead."""
    rows = []
    for score in summary.faults:
        where = (score.fault.kind, score.scenario, str(score.seed))
        if score.by is None:
            said = f"dated before the fault: {told(score.misdated)}" if score.misdated else "nothing told"
            rows.append((*where, "missed", said))
        if score.early:
            rows.append((*where, "flagged before the fault", told(score.early)))
    rows += [
        ("healthy", control.scenario, str(control.seed), "flagged", told(control.findings))
        for control in summary.controls
        if control.findings
    ]
    return Table("Judged wrongly", ("fault", "scenario", "seed", "what", "told"), tuple(rows))


def told(signs: Sequence[Sign]) -> str:
    """Return the first of some signs in words, and how many more there are."""
    first, *others = signs
    more = f" and {count(len(others), 'more sign')}" if others else ""
    return f"{first.source}: {first.metric} {first.kind} from step {first.onset}, told at {first.told}{more}"


def rate_text(rate: Rate) -> str:
    """Return for example `33/35 (94 %, 81 to 99)`."""
    if not rate.total:
        return "none"
    low, high = 100.0 * rate.low, 100.0 * rate.high
    return f"{rate.hits}/{rate.total} ({100.0 * rate.value:.0f} %, {low:.0f} to {high:.0f})"


def delay_text(delay: Median) -> str:
    """Return for example `1 (0 to 3)`; `never` where more than half was not found."""
    if isnan(delay.value):
        return "-"
    return f"{_steps(delay.value)} ({_steps(delay.low)} to {_steps(delay.high)})"


def markdown(table: Table) -> list[str]:
    """Return a table in markdown, its title above it."""
    lines = [f"### {table.title}", "", f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in table.rows), ""]


def text(table: Table) -> list[str]:
    """Return a table in columns, its title above it."""
    every = [table.columns, *table.rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]
    return [table.title, *(f"  {line}" for line in lines), ""]


def _steps(value: float) -> str:
    return "never" if isinf(value) else f"{value:g}"
