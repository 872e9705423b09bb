"""The text of `check`: one log at length, or a line and its findings for each of several."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rlhf_assert.checked import Check
from rlhf_assert.cli.output import word
from rlhf_assert.detect import Severity
from rlhf_assert.errors import suggest
from rlhf_assert.metrics import ALIASES, canonical_name
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run
from rlhf_assert.report.diagnosis import diagnose
from rlhf_assert.report.layout import clean, columns, cut, hang, pad
from rlhf_assert.report.reported_causes import reported_causes, without_name
from rlhf_assert.report.summary import facts
from rlhf_assert.report.wording import findings_of, mark
from rlhf_assert.verdict import Verdict

SHOWN_KEYS = 8
LONGEST_KEY = 60
LONGEST_EVENT = 160
SUGGESTED_FROM = 200
"""Unknown keys that are compared with the known ones for a typing error, at most."""

_CHECKPOINT = re.compile(r"checkpoint-(\d+)$")


@dataclass(frozen=True, slots=True)
class Style:
    """How text is printed: columns, and whether ASCII must do."""

    width: int
    ascii: bool

    def __call__(self, verdict: Verdict, alone: bool) -> tuple[tuple[str, ...], str]:  # noqa: FBT001 - see `answers.Tell`
        """Tell a verdict: what stands beside the log's name, and its findings, at length if it is the only one."""
        return tuple(header(verdict.run)), full(verdict, self) if alone else brief(verdict, self)


def short_facts(verdict: Verdict, rows: int) -> str:
    """Return `80 rows, 6 checks passed, 2 not judged`."""
    marks = [mark(check) for check in verdict.checks]
    passed = marks.count("pass") + marks.count("warn")
    return (
        f"{count(rows, 'row')}, {count(passed, 'check')} passed, {marks.count('few') + marks.count('skip')} not judged"
    )


def header(run: Run) -> list[str]:
    """Return what stands beside the name: the algorithm, rows, steps and metrics; a line for each subject."""
    extent = f", steps {run.extent[0]} to {run.extent[1]}" if len(run.rows) else ""
    rows = f"{count(len(run.rows), 'row')}{extent}, {count(len(run.series), 'metric')}"
    algorithm = run.algorithm.upper()
    if "log" not in run.info:
        return [f"{run.scenario}, {algorithm or 'UNKNOWN ALGORITHM'}; {rows}", facts(run)]
    told = f"{algorithm}, judged by its keys" if algorithm else "algorithm not told by its keys"
    lines = [f"{told}; {rows}"]
    if run.info.get("phase"):
        lines.append("phase {} of {} in this file".format(*run.info["phase"]))
    if not run.info.get("step_key"):
        lines.append("no step in this log: rows are counted from 1")
    return lines


def full(verdict: Verdict, style: Style) -> str:
    """Return one log: its findings with curves, what passed, what was not judged and why, and the sum."""
    run = verdict.run
    lines = ["", *_findings(verdict, style, indent="", at_length=True)]
    marks = {check.name: mark(check) for check in verdict.checks}
    passed = [name for name, its in marks.items() if its == "pass"]
    errors = [f"{check.name}: {check.headline}" for check in verdict.errors]
    lines += _row("passed", ["  ".join(passed)] if passed else [], style)
    lines += _row("error", errors, style)
    lines += _row("not judged", _not_judged(verdict), style)
    lines += _row("unknown", [_unknown(run)] if run.unmapped else [], style)
    if run.info.get("keys_left_out"):
        left = f"at least {run.info['keys_left_out']:,} further keys: a step or a name within the key?"
        lines += _row("left out", [left], style)
    if run.torn_lines:
        lines += _row("dropped", [f"{count(run.torn_lines, 'line')} that were cut off or no record"], style)
    if run.unreadable:
        first = cut(str(run.unreadable[0]), LONGEST_EVENT)
        lines += _row("unreadable", [f"{count(len(run.unreadable), 'event')}; the first is {first}"], style)
    counted = list(marks.values())
    total = (
        f"{counted.count('CRIT')} critical, {count(counted.count('warn'), 'warning')}, {len(passed)} passed, "
        f"{counted.count('few') + counted.count('skip')} not judged"
        f"{f', {len(errors)} failed to judge' if errors else ''}."
    )
    return "\n".join([*lines, "", total + _last_good(verdict)])


def brief(verdict: Verdict, style: Style) -> str:
    """Return the findings of one of several logs, a line each."""
    return "\n".join(_findings(verdict, style, indent="  ", at_length=False))


def _not_judged(verdict: Verdict) -> list[str]:
    """Return the checks that did not judge with their reasons; those with one reason share a line."""
    by_reason: dict[str, list[str]] = {}
    for check in verdict.checks:
        if mark(check) in ("few", "skip"):
            by_reason.setdefault(check.headline, []).append(check.name)
    lines = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    if "log" in verdict.run.info:
        lines.append("per sample: a log holds means only: rlhf-assert rewards FILE")
    return lines


def _unknown(run: Run) -> str:
    present = {canonical_name(key) for key in run.original}
    missing = [key for table in ALIASES.values() for key, name in table.items() if name not in present]
    told = [cut(clean(key), LONGEST_KEY) + _typo(key, missing) for key in run.unmapped[:SUGGESTED_FROM]]
    told.sort(key=lambda text: not text.endswith("?)"))  # what may be a typing error must not be cut off
    more = len(run.unmapped) - SHOWN_KEYS
    listed = ", ".join(told[:SHOWN_KEYS]) + (f" and {more:,} more" if more > 0 else "")
    return f"{count(len(run.unmapped), 'key')}: {listed}"


def _typo(key: str, known: list[str]) -> str:
    """Return the suggestion for a key that differs from a known one by little: `los`, `rewrd`."""
    near = [candidate for candidate in known if abs(len(candidate) - len(key)) <= 1 and candidate[:1] == key[:1]]
    return suggest(key, near) if len(key) > 2 and len(key) < 100 else ""


def _last_good(verdict: Verdict) -> str:
    critical = [finding for finding in findings_of(verdict.checks) if finding["severity"] == Severity.critical.name]
    onsets = [int(finding["onset"]) for finding in critical if finding["onset"] is not None]
    if not onsets or min(onsets) <= max(verdict.run.extent[0], 1):
        return ""
    last = min(onsets) - 1
    near = [step for step in _checkpoints(verdict.run) if step <= last]
    return f"  Last good step {last}" + (f", nearest checkpoint {max(near)}." if near else ".")


def _checkpoints(run: Run) -> list[int]:
    """Return the steps of the checkpoints of a run, or beside a `trainer_state.json`."""
    folders: list[Path] = list(run.checkpoints)
    if run.info.get("log") == "trainer_state":
        inside = _CHECKPOINT.search(run.path.absolute().parent.name)
        training = run.path.absolute().parent.parent if inside else run.path.absolute().parent
        try:
            folders += training.iterdir()
        except OSError:
            return []
    return [int(finding.group(1)) for folder in folders if (finding := _CHECKPOINT.search(folder.name))]


def _row(name: str, texts: list[str], style: Style) -> list[str]:
    return hang(name, [clean(text, ascii=style.ascii) for text in texts], label_width=13, width=style.width)


def _findings(verdict: Verdict, style: Style, *, indent: str, at_length: bool) -> list[str]:
    told = reported_causes([verdict])
    by_name = {check.name: check for check in verdict.checks}
    names = [name for finding in told for name in (finding.check, *(follower for follower, _ in finding.consequences))]
    name_width = max(map(columns, names), default=0) + 2
    lines: list[str] = []
    for finding in told:
        check = by_name[finding.check]
        diagnosed = at_length and finding.mark == "CRIT"
        if diagnosed:
            lines += _diagnosis(check, verdict, style)
        else:
            left = len(indent) + 6 + name_width
            texts = hang("", [clean(without_name(check), ascii=style.ascii)], label_width=left, width=style.width)
            lines.append(indent + word(finding.mark, 6) + pad(finding.check, name_width) + texts[0].lstrip())
            lines += texts[1:]
        for index, (name, consequence) in enumerate(finding.consequences):
            left_text = indent + " " * 8 + pad(name, name_width)
            text = clean(consequence, ascii=style.ascii)
            if diagnosed:  # a row of the diagnosis
                left_text, text = f"        {'' if index else 'follows':12}", f"{name}: {text}"
            lines += hang(left_text, [text], label_width=columns(left_text), width=style.width)
        if at_length:
            lines.append("")
    return lines


def _diagnosis(check: Check, verdict: Verdict, style: Style) -> list[str]:
    first, *rest = diagnose(check, verdict.run, width=max(style.width - 6, 60), ascii=style.ascii).splitlines()
    return [word("CRIT", 6) + first, *(("      " + line).rstrip() for line in rest)]
