"""A check told as a diagnosis: the verdict, then fixed rows.

The rows, each left out where there is nothing to say: the curves with an axis that marks each onset, evidence, samples,
cause, ruled out, remedy, intended? and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rlhf_assert.checked import Check, Status
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.metrics import label
from rlhf_assert.recording.run import Run
from rlhf_assert.report.curves import Curve, axis_of, draw, worst
from rlhf_assert.report.layout import clean, columns, cut, hang, pad, wrap
from rlhf_assert.report.sparkline import Axis

if TYPE_CHECKING:
    from rlhf_assert.verdict import Chain, Verdict

WIDTH = 92
"""pytest puts `E       ` before each line: 100 columns in all."""
LEAST_WIDTH = 60
CELLS = 40
LEAST_CELLS = 20
TRACEBACK_LINES = 8
_INDENT = "  "
_LABELS = 12


def diagnose(
    check: Check,
    run: Run,
    *,
    again: str = "",
    width: int = WIDTH,
    ascii: bool = False,  # noqa: A002 - the word that users know
) -> str:
    """Tell what a check came to.

    Args:
        check: the check.
        run: the run that it judged.
        again: the command that repeats the run; the only row that may grow past `width`, since a path in it must not
            be broken.
        width: columns, at least 60.
        ascii: use ASCII characters only.

    Raises:
        ValueError: `width` is below 60.
    """
    if width < LEAST_WIDTH:
        raise ValueError(f"width={width}, but a diagnosis takes at least {LEAST_WIDTH} columns")
    if check.status is Status.ERROR:
        return "\n".join(_paragraph(f"{check.name}: {check.headline}", width, ascii))
    if check.status in (Status.SKIPPED, Status.INSUFFICIENT):
        what = "not judged" if check.status is Status.SKIPPED else "too little to judge"
        return "\n".join(_paragraph(f"{check.name}: {what}: {check.headline}", width, ascii))
    sections = [_curves(check, run, width, ascii), _rows(check, run, again, width, ascii)]
    lines = _paragraph(check.headline or check.name, width, ascii)
    for section in sections:
        if section:
            lines += ["", *section]
    return "\n".join(lines)


def diagnose_verdict(verdict: Verdict, *, again: str = "") -> str:
    """Tell why a verdict is no pass: each cause once, at the check that showed it first, and what follows from it.

    Args:
        verdict: the verdict.
        again: the command that repeats the run; the last diagnosis ends with it.
    """
    run, chains = verdict.run, verdict.chains
    told = [_chain(chain, run, again if chain is chains[-1] else "") for chain in chains]
    told += [diagnose(check, run) for check in verdict.errors]
    if told:
        return "\n\n".join(told)
    if len(verdict.checks) == 1:
        return verdict.checks[0].headline
    reasons = "; ".join(f"{check.name}: {check.headline}" for check in verdict.unjudged)
    return f"nothing could be judged: {reasons}"


def _chain(chain: Chain, run: Run, again: str) -> str:
    follows = [f"{check.name}: {check.headline}" for check in chain.consequences]
    lines = hang("follows", follows, indent=_INDENT, label_width=_LABELS, width=WIDTH)
    return "\n".join([diagnose(chain.root, run, again=again), *lines])


def _paragraph(text: str, width: int, ascii: bool) -> list[str]:  # noqa: A002, FBT001
    first, *rest = wrap(clean(text, ascii=ascii), width - len(_INDENT))
    return [first, *(_INDENT + line for line in rest)]


def _curves(check: Check, run: Run, width: int, ascii: bool) -> list[str]:  # noqa: A002, FBT001
    names = {metric: clean(label(metric), ascii=ascii) for metric in check.metrics}
    cells = CELLS
    drawn: dict[str, Curve | None] = {}
    while names:
        axis = axis_of(run, cells)
        drawn = {metric: draw(run, metric, axis, ascii=ascii) for metric in names}
        lines = _table(check, run, names, drawn, axis)
        over = max(columns(line) for line in lines) - width
        if over <= 0:
            return lines
        if cells > LEAST_CELLS:
            cells = max(LEAST_CELLS, cells - over)
            continue
        longest = max(columns(name) for name in names.values())
        if longest <= 8:
            return [cut(line, width, ascii=ascii) for line in lines]
        names = {metric: cut(name, max(8, longest - over), ascii=ascii) for metric, name in names.items()}
    return []


def _table(check: Check, run: Run, names: dict[str, str], drawn: dict[str, Curve | None], axis: Axis) -> list[str]:
    left = max(columns(name) for name in names.values()) + 2
    middle = max((columns(curve.ends) for curve in drawn.values() if curve), default=0)
    lines = []
    for index, (metric, curve) in enumerate(drawn.items()):
        start = _INDENT + pad(names[metric], left)
        if curve is None:
            lines.append(f"{start}not recorded")
            continue
        notes = list(curve.notes)
        severity = worst(check.anomalies, metric)
        if index and severity is not None and severity > Severity.info:
            notes.append(severity.name)
        lines.append(f"{start}{curve.cells}   {pad(curve.ends, middle)}   {', '.join(notes)}".rstrip())
    if any(metric in run for metric in drawn) and axis.last > axis.first:
        onsets = [anomaly.onset for anomaly in _gravest_first(check) if anomaly.metric in drawn]
        lines.append(_INDENT + " " * left + axis_line(axis, onsets))
    return lines


def _gravest_first(check: Check) -> list[Anomaly]:
    return sorted(check.anomalies, key=lambda anomaly: (-anomaly.severity, anomaly.onset))


def axis_line(axis: Axis, onsets: Iterable[int]) -> str:
    """Return the line below the curves: the first and the last step, and `^STEP` below the cell of each onset.

    A mark that would overlap an earlier one of `onsets` is left out; the first and last step give way to marks.
    """
    marks: dict[int, str] = {}
    for onset in dict.fromkeys(onsets):
        if axis.first <= onset <= axis.last:
            _place(marks, axis.cell(onset), f"^{onset}")
    _place(marks, 0, str(axis.first))
    last = str(axis.last)
    if all(text != f"^{last}" for text in marks.values()):
        after = max(start + len(text) + 1 for start, text in marks.items())
        _place(marks, max(axis.cells - len(last), after), last)
    line = ""
    for start, text in sorted(marks.items()):
        line = line.ljust(start) + text
    return line


def _place(marks: dict[int, str], start: int, text: str) -> None:
    end = start + len(text)
    if all(end < other or start > other + len(taken) for other, taken in marks.items()):
        marks[start] = text


def _rows(check: Check, run: Run, again: str, width: int, ascii: bool) -> list[str]:  # noqa: A002, FBT001
    room = width - len(_INDENT) - _LABELS
    evidence = check.evidence or tuple(f"{label(anomaly.metric)} {anomaly.summary}" for anomaly in check.anomalies)
    trace = traceback_end(check, run)
    told = {line.rstrip() for line in str((run.error or {}).get("traceback") or "").splitlines()} if trace else set()
    told.add(check.headline)
    ruled_out, reason_at = _ruled_out(check, room)
    remedy = check.remedy
    if len(remedy) > 1:
        remedy = tuple(f"{index}. {text}" for index, text in enumerate(remedy, start=1))
    rows: list[tuple[str, Iterable[str], int]] = [
        ("evidence", [line for line in evidence if line.rstrip() not in told], 2),
        ("traceback", trace, 4),
        ("samples", [cut(clean_columns(text, ascii=ascii), room, ascii=ascii) for text in check.samples], 0),
        ("cause", [str(check.cause), *check.cause.evidence] if check.cause else [], 0),
        ("ruled out", ruled_out, reason_at),
        ("remedy", remedy, 3 if len(remedy) > 1 else 0),
        ("intended?", [check.override] if check.override else [], 2),
    ]
    lines: list[str] = []
    for name, texts, further in rows:
        paragraphs = [clean_columns(text, ascii=ascii) for text in texts]
        lines += hang(name, paragraphs, indent=_INDENT, label_width=_LABELS, width=width, further=further)
    if again:
        lines += _command(clean(again, ascii=ascii), room)
    return lines


def clean_columns(text: str, *, ascii: bool = False) -> str:  # noqa: A002
    """Return `text` as `clean` does, its runs of spaces kept."""
    return " ".join(clean(part, ascii=ascii) for part in text.rstrip().split(" "))


def traceback_end(check: Check, run: Run) -> list[str]:
    """Return the last lines of the child's traceback, where the check is about how the run ended."""
    trace = str((run.error or {}).get("traceback") or "")
    if check.status is not Status.FAIL or check.metrics or not trace:
        return []
    lines = [line.rstrip() for line in trace.rstrip().splitlines() if line.strip(" ^~")]
    return lines[-TRACEBACK_LINES:]


def _ruled_out(check: Check, room: int) -> tuple[list[str], int]:
    """Return `cause  why` and the column of the reasons, which align as far as half of the room allows."""
    left = min(max((columns(cause) for cause, _ in check.ruled_out), default=0), room // 2)
    return [f"{pad(cause, left)}  {why}" for cause, why in check.ruled_out], left + 2


def _command(command: str, room: int) -> list[str]:
    """Return a command wrapped so that it can still be pasted: at spaces, with a backslash."""
    lines, line = [], ""
    for word in command.split(" "):
        if line and columns(line) + 1 + columns(word) > room - 2:
            lines.append(line + " \\")
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    first, *rest = lines
    return [f"{_INDENT}{'again':{_LABELS}}{first}", *(_INDENT + " " * _LABELS + other for other in rest)]
