"""The health section at the end of a session: a block per run for a few, a table for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_assert.checked import Check, Status
from rlhf_assert.detect.budget import Rates
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count, share
from rlhf_assert.recording.run import Run
from rlhf_assert.report.curves import Curve, axis_of, draw
from rlhf_assert.report.layout import clean, columns, cut, hang, pad
from rlhf_assert.report.live import seconds
from rlhf_assert.report.reported_causes import reported_causes, without_name
from rlhf_assert.report.wording import MARKS, first_sign, gravest, mark, verdict_word
from rlhf_assert.verdict import Verdict

__all__ = ["Verdict", "block", "facts", "health_section", "table"]

WIDTH = 100
FEW = 3
"""Up to so many runs are shown as blocks."""
BLOCK_CELLS = 20
TABLE_CELLS = 12
LEARNING = ("reward", "reward_margin", "reward_accuracy", "loss")
"""What a table shows as the learning signal of a run that names none, the first that it recorded."""


def health_section(
    verdicts: Sequence[Verdict],
    *,
    width: int = WIDTH,
    ascii: bool = False,  # noqa: A002 - the word that users know
    expected_false_alarms: Sequence[Rates] | None = None,
) -> list[str]:
    """Return the lines of the health section, without its title; none if nothing was judged.

    Args:
        verdicts: the judged runs.
        width: columns of the terminal; under 60 it counts as 60.
        ascii: use ASCII characters only.
        expected_false_alarms: how likely each run is flagged if it is sound, as
            `rlhf_assert.facts.detected.expected_false_alarms` tells it.
    """
    if not verdicts:
        return []
    width = max(width, 60)
    if len(verdicts) <= FEW:
        lines: list[str] = []
        for verdict in verdicts:
            lines += [*([""] if lines else []), *block(verdict, width=width, ascii=ascii)]
    else:
        lines = table(verdicts, width=width, ascii=ascii)
    if expected_false_alarms is not None:
        checks = sum(verdict.judged for verdict in verdicts)
        lines += ["", *hang("alarms", [false_alarms(expected_false_alarms, checks)], label_width=12, width=width)]
    return lines


def false_alarms(expected: Sequence[Rates], checks: int) -> str:
    """Return how many false alarms to expect of so many runs, all of them sound, and so many checks."""
    total = sum(expected, Rates())
    told = "no check drew on the false-alarm budget"
    if total.warning:
        told = f"at most {total.warning:.2g} false warnings, {total.critical:.2g} criticals expected at this budget"
    return f"{count(len(expected), 'run')}, {count(checks, 'check')}; {told}"


def block(verdict: Verdict, *, width: int = WIDTH, ascii: bool = False) -> list[str]:  # noqa: A002
    """Return one run: its verdict and figures, then a row per check."""
    run, checks = verdict.run, verdict.checks
    curves = {check.name: _curve(run, check, BLOCK_CELLS, ascii=ascii) for check in checks}
    name_width = max([columns(run.title), *(2 + columns(check.name) for check in checks)]) + 2
    ends_width = max((columns(curve.ends) for curve in curves.values() if curve), default=0)
    lines = [pad(run.title, name_width) + f"{verdict_word(checks)}  {facts(run)}"]
    for check in checks:
        left = pad("  " + check.name, name_width) + pad(mark(check).upper(), 6)
        curve = curves[check.name]
        if curve:
            left += f"{curve.cells}   {pad(curve.ends, ends_width)}   "
        text = clean(_said(check, drawn=curve is not None), ascii=ascii)
        room = width - columns(left)
        if room < 20:
            lines += [left.rstrip(), *hang("", [text] if text else [], label_width=name_width, width=width)]
        else:
            lines += hang(left, [text], label_width=columns(left), width=width)
    if verdict.replay and verdict.failures:
        lines.append(pad("  again", name_width) + verdict.replay)
    return [line.rstrip() for line in lines]


def facts(run: Run) -> str:
    """Return `40 steps, 5.4 s, seed 0, monitor 0.9 %`, and how the run ended if not at its end."""
    parts = [count(run.steps, "step"), seconds(run.seconds)]
    planned = run.info.get("steps")
    if run.status != "completed":
        parts[0] = f"{run.status} after {parts[0]}" + (f" of {planned}" if planned else "")
    if run.seed is not None:
        parts.append(f"seed {run.seed}")
    if run.info.get("monitor_seconds") is not None and run.seconds > 0:
        parts.append(f"monitor {share(float(run.info['monitor_seconds']) / run.seconds)}")
    return ", ".join(parts)


def table(verdicts: Sequence[Verdict], *, width: int = WIDTH, ascii: bool = False) -> list[str]:  # noqa: A002
    """Return a row per scenario, then the findings by onset, then what passed everywhere and what was not judged.

    A check has a column of its own where some run failed it, warned or did not judge it; columns that do not fit are
    left out, the checks themselves are in the lines below.
    """
    groups: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict.run.title, []).append(verdict)
    marks = {name: _marks(group) for name, group in groups.items()}
    names = list(dict.fromkeys(check for its in marks.values() for check in its))
    everywhere = [name for name in names if all(its.get(name, "pass") == "pass" for its in marks.values())]
    varied = sorted((name for name in names if name not in everywhere), key=lambda name: _rank(name, marks))
    header, rows = _figures(groups, ascii=ascii)
    while True:
        shown = [name for name in names if name in varied]
        lines = _lay_out(header, rows, shown, marks)
        if max(columns(line) for line in lines) <= width or not varied:
            break
        varied.pop()
    lines = [cut(line, width, ascii=ascii) for line in lines]
    return [*lines, *_findings(verdicts, width, ascii=ascii), *_rest(groups, everywhere, width, ascii=ascii)]


def _curve(run: Run, check: Check, cells: int, *, ascii: bool) -> Curve | None:  # noqa: A002
    if not check.metrics or check.status in (Status.SKIPPED, Status.INSUFFICIENT):
        return None
    if mark(check) == "pass" and not _about_curve(check):
        return None
    return draw(run, check.metrics[0], axis_of(run, cells), ascii=ascii)


def _said(check: Check, *, drawn: bool) -> str:
    if check.status is Status.PASS and mark(check) == "pass":
        return check.note if drawn else check.note or without_name(check)
    return without_name(check)


def _about_curve(check: Check) -> bool:
    """Return whether a pass says where its first metric went, and so is better drawn than told."""
    word = label(check.metrics[0])
    return check.name == word or check.headline.startswith(f"{word} ")


def _marks(group: Sequence[Verdict]) -> dict[str, str]:
    gathered: dict[str, list[str]] = {}
    for verdict in group:
        for check in verdict.checks:
            gathered.setdefault(check.name, []).append(mark(check))
    return {name: gravest(marks) for name, marks in gathered.items()}


def _rank(name: str, marks: Mapping[str, Mapping[str, str]]) -> int:
    return MARKS.index(gravest(its[name] for its in marks.values() if name in its))


def _figures(groups: Mapping[str, Sequence[Verdict]], *, ascii: bool) -> tuple[list[str], list[list[str]]]:  # noqa: A002
    header = ["seeds", "steps", "time", "learns", "first sign"]
    rows = []
    for group in groups.values():
        runs = [verdict.run for verdict in group]
        sound = sum(verdict_word(verdict.checks) in ("PASS", "WARN") for verdict in group)
        sign = first_sign(check for verdict in group for check in verdict.checks)
        rows.append(
            [
                f"{sound}/{len(group)}",
                str(max(run.steps for run in runs)),
                seconds(sum(run.seconds for run in runs)),
                _learning(runs[0], ascii=ascii),
                f"{label(sign.metric) or sign.kind} {sign.onset}" if sign else "",
            ]
        )
    curves = max(columns(row[3].split("  ")[0]) for row in rows)
    for row in rows:
        metric, gap, curve = row[3].partition("  ")
        row[3] = pad(metric, curves) + gap + curve
    return header, rows


def _learning(run: Run, *, ascii: bool) -> str:  # noqa: A002
    wanted = [str(run.info.get("learns") or ""), *LEARNING]
    metric = next((name for name in wanted if name in run.series), None)
    curve = draw(run, metric, axis_of(run, TABLE_CELLS), ascii=ascii) if metric else None
    return f"{curve.label}  {curve.cells}  {curve.ends}" if curve else ""


def _lay_out(
    header: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str], marks: Mapping[str, Mapping[str, str]]
) -> list[str]:
    cells = [["scenario", "", *shown, *header]]
    for (scenario, gathered), row in zip(marks.items(), rows, strict=True):
        words = {"CRIT": "FAIL", "warn": "WARN", "pass": "PASS"}
        verdict = words.get(gravest([word for word in gathered.values() if word in words]), "NONE")
        cells.append([scenario, verdict, *(gathered.get(name, "") for name in shown), *row])
    widths = [max(columns(line[index]) for line in cells) for index in range(len(cells[0]))]
    right = {len(shown) + 2, len(shown) + 3, len(shown) + 4}
    return [
        "  ".join(
            " " * (wide - columns(text)) + text if index in right else pad(text, wide)
            for index, (text, wide) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _findings(verdicts: Sequence[Verdict], width: int, *, ascii: bool) -> list[str]:  # noqa: A002
    causes = reported_causes(verdicts)
    if not causes:
        return []
    scenario_width = max(columns(cause.scenario) for cause in causes) + 2
    names = [name for cause in causes for name in (cause.check, *(name for name, _ in cause.consequences))]
    check_width = max(columns(name) for name in names) + 2
    replays = {verdict.run.title: verdict.replay for verdict in reversed(verdicts) if verdict.failures}
    lines = [""]
    for cause in causes:
        left = pad(cause.mark, 6) + pad(cause.scenario, scenario_width) + pad(cause.check, check_width)
        lines += hang(left, [clean(cause.text, ascii=ascii)], label_width=columns(left), width=width)
        for name, text in cause.consequences:
            left = " " * (6 + scenario_width) + pad("  " + name, check_width + 2)
            lines += hang(left, [clean(text, ascii=ascii)], label_width=columns(left), width=width)
    again = [replay for replay in dict.fromkeys(replays.values()) if replay]
    return [*lines, *([""] if again else []), *(f"again       {replay}" for replay in reversed(again))]


def _rest(groups: Mapping[str, Sequence[Verdict]], everywhere: Sequence[str], width: int, *, ascii: bool) -> list[str]:  # noqa: A002
    lines: list[str] = []
    if everywhere:
        lines += hang("passed", [", ".join(everywhere)], label_width=12, width=width)
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for scenario, group in groups.items():
        for verdict in group:
            for check in verdict.checks:
                if check.status in (Status.SKIPPED, Status.INSUFFICIENT):
                    reasons.setdefault((check.name, check.headline), {})[scenario] = None
    told = [
        clean(f"{name}: {reason} ({_who(scenarios, groups)})", ascii=ascii)
        for (name, reason), scenarios in reasons.items()
    ]
    lines += hang("not judged", told, label_width=12, width=width)
    return ["", *lines] if lines else []


def _who(scenarios: Mapping[str, None], groups: Mapping[str, object]) -> str:
    return "all" if len(scenarios) == len(groups) > 1 else ", ".join(scenarios)
