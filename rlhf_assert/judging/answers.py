"""What `check` answers for one path: judged, or why not. Small enough to come from another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_assert.checked import Status
from rlhf_assert.checks.registry import checks_of
from rlhf_assert.detect.budget import Rates
from rlhf_assert.errors import RlhfAssertError, UnreadableRun, suggest
from rlhf_assert.facts.detected import expected_false_alarms
from rlhf_assert.ingest import is_run_directory, logs_in, read_log
from rlhf_assert.judging.detection import Detection
from rlhf_assert.judging.paths import PARTS, damaged, reason, require
from rlhf_assert.metrics import ALIASES
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import Run
from rlhf_assert.report import github
from rlhf_assert.report.layout import clean, cut
from rlhf_assert.report.wording import findings_of
from rlhf_assert.verdict import Verdict, judge

Tell = Callable[[Verdict, bool], tuple[tuple[str, ...], str]]
"""Tells a verdict, at length or not: what stands beside the log's name, and the text below. It may cross processes."""

SHOWN_KEYS = 12
LONGEST_KEY = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one log.

    Attributes:
        source: the path as it was named, with `#2` for the second phase of a log that has several.
        verdict: the checks, with a run that has lost its columns; None if the log could not be read.
        error: why it could not be read.
        unjudged: why nothing could be judged, where that needs no list of checks.
        findings: as the JSON contract has them.
        entry: the entry of the JSON answer.
        rows: the rows that were judged.
        false_alarms: how likely it is flagged, were it healthy.
        header: what is printed beside its name.
        text: what is printed of it below.
        annotations: the lines for GitHub.
    """

    source: str
    verdict: Verdict | None = None
    error: str | None = None
    unjudged: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)
    entry: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    false_alarms: Rates = field(default_factory=Rates)
    header: tuple[str, ...] = ()
    text: str = ""
    annotations: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether at least one check judged."""
        return self.verdict is not None and self.verdict.judged > 0

    @property
    def errors(self) -> int:
        """How many checks failed to judge."""
        return 0 if self.verdict is None else len(self.verdict.errors)


def expand(path: str) -> tuple[list[str], str | None]:
    """Return the logs that a path stands for, or none and why there are none."""
    given = Path(path)
    if not path:
        return [], "an empty name: a variable that is not set?"
    try:
        if not given.is_dir() or is_run_directory(given):
            return [path], None
        logs = logs_in(given)
    except UnreadableRun as error:
        return [], str(error)
    except OSError as error:
        return [], error.strerror or str(error)
    return [path if log == given else str(log) for log in logs], None


def answer(path: str, tell: Tell | None, detection: Detection | None = None, *, alone: bool) -> list[Answer]:
    """Read and judge one log.

    Args:
        path: a file or folder.
        tell: tells the verdict; None if nobody will read the text.
        detection: what is set about detection; by default nothing.
        alone: tell it at length.
    """
    try:
        with np.errstate(all="ignore"):  # a log may hold any float; what overflows is judged as infinite
            runs = [(detection or Detection()).apply(run) for run in _read(path)]
            return [answer_run(_named(path, run), run, tell, alone=alone) for run in runs]
    except RlhfAssertError as error:
        return [unreadable(path, reason(error, path))]
    except MemoryError:
        return [unreadable(path, "out of memory")]
    except Exception as error:  # noqa: BLE001 - one log must not end the judgement of the others
        told = f"{type(error).__name__}: {error}"
        return [unreadable(path, f"cannot be judged, a defect of rlhf-assert, please report it: {told}")]


def unreadable(path: str, why: str) -> Answer:
    """Return the answer for a path that cannot be read."""
    why = clean(why)
    entry = {"source": path, "steps": 0, "metrics": [], "unmapped": [], "findings": [], "skipped": [], "error": why}
    line = github.annotation("error", f"{path}: {why}", title="unreadable")
    return Answer(path, error=why, entry=entry, annotations=(line,))


def _read(path: str) -> list[Run]:
    given = Path(path)
    require(given)
    if given.name in PARTS and is_run_directory(given.parent):
        raise UnreadableRun(f"a file of a run directory: name the directory, {given.parent}")
    try:
        runs = read_log(given)
        if is_run_directory(given):
            for run in runs:
                _ = run.seconds, run.steps, run.samples, run.resources  # what is damaged shows here, not in a report
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(error) from error
    return runs


def _named(path: str, run: Run) -> str:
    phase = run.info.get("phase")
    return path if not phase or phase[0] == 1 else f"{path}#{phase[0]}"


def answer_run(source: str, run: Run, tell: Tell | None, *, alone: bool) -> Answer:
    """Judge one run that was read; see `answer`."""
    unknown = "" if run.series or "log" not in run.info else _no_metric(run)
    if unknown:
        entry = _entry(source, run, [], [{"check": checks_of("assert_other_metrics_sound")[0].name, "reason": unknown}])
        line = github.annotation("error", f"{source}: {unknown}", title="not judged")
        return Answer(source, unjudged=unknown, entry=entry, annotations=(line,))
    verdict = judge(run)
    findings = findings_of(verdict.checks)
    skipped = [
        {"check": check.name, "reason": check.headline}
        for check in verdict.checks
        if check.status not in (Status.PASS, Status.FAIL)
    ]
    header, text = ((), "") if tell is None else tell(verdict, alone)
    lines = github.annotations([verdict], file="" if is_run_directory(run.path) else os.path.relpath(run.path))
    return Answer(
        source,
        Verdict(_without_columns(run), verdict.checks),
        findings=findings,
        entry=_entry(source, run, findings, skipped),
        rows=len(run.rows),
        false_alarms=expected_false_alarms(run),
        header=header,
        text=text,
        annotations=tuple(lines),
    )


def _entry(source: str, run: Run, findings: list[dict[str, Any]], skipped: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "source": source,
        "steps": run.steps,
        "metrics": list(run.series),
        "unmapped": list(run.unmapped),
        "findings": findings,
        "skipped": skipped,
        "error": None,
    }


def _no_metric(run: Run) -> str:
    known = {key for table in ALIASES.values() for key in table}
    keys = [*run.original, *(run.info.get("words") or ())]
    listed = [cut(clean(key), LONGEST_KEY) + suggest(key[:LONGEST_KEY], known) for key in keys[:SHOWN_KEYS]]
    if run.info.get("step_key"):
        listed.insert(0, cut(clean(str(run.info["step_key"])), LONGEST_KEY))
    more = len(keys) - SHOWN_KEYS + int(run.info.get("keys_left_out") or 0)
    told = ", ".join(listed) + (f" and {more:,} more" if more > 0 else "")
    return f"{count(int(run.info['rows']), 'row')}, no metric known to rlhf-assert; keys: {told}"


def _without_columns(run: Run) -> Run:
    """Return the run without its rows, for reports that need no more than its name and extent."""
    light = replace(run, rows=(), series={}, original={}, unmapped=(), events=())
    light.__dict__["extent"] = run.extent  # what the cached property would compute from rows
    return light
