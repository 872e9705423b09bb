"""What a session prints and what other programs read: first lines, the health section, annotations."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest  # noqa: TID253 - this is a pytest plugin

from rlhf_assert.checked import Check, Status, decode_check
from rlhf_assert.errors import UnreadableRun
from rlhf_assert.facts.detected import expected_false_alarms
from rlhf_assert.failures import HealthFailure
from rlhf_assert.numbers import count
from rlhf_assert.recording.run import read_run
from rlhf_assert.report import github
from rlhf_assert.report.summary import WIDTH, health_section
from rlhf_assert.verdict import Verdict


def shorten(report: pytest.TestReport, failure: HealthFailure) -> None:
    """Make a failure's first line its short form: summaries, JUnit and annotations repeat it, and not the diagnosis."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        crash.message = f"{type(failure).__name__}: {failure.check.headline}"


def print_summary(reporter: pytest.TerminalReporter) -> None:
    """Print the health section, and under GitHub Actions its annotations and step summary."""
    verdicts = judged(reporter)
    terminal = getattr(reporter, "isatty", False)
    width = min(reporter.config.get_terminal_writer().fullwidth, WIDTH) if terminal else WIDTH
    reporter.section("rlhf health")
    expected = [expected_false_alarms(verdict.run) for verdict in verdicts]
    lines = health_section(verdicts, width=width, ascii=not speaks_unicode(reporter), expected_false_alarms=expected)
    for line in [*lines, *(line for verdict in verdicts for line in lost_nodes(verdict.run.info))]:
        reporter.line(line)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for line in github.annotations(verdicts):
            reporter.line(line)
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(github.step_summary(verdicts))


def lost_nodes(info: Mapping[str, Any]) -> list[str]:
    """Return a line for each node of a cluster that was lost with a run's training on it."""
    cluster = info.get("cluster") or {}
    again = f"trained again on {cluster['host']}" if cluster.get("host") else "not trained"
    return [
        f"lost        {info.get('scenario')} seed {info.get('seed')}: node {str(lost.get('node'))[:8]} "
        f"({lost.get('reason')}); {again}"
        for lost in cluster.get("lost") or ()
    ]


def judged(reporter: pytest.TerminalReporter) -> list[Verdict]:
    """Return what the session judged, a run each, in the order of the tests; also what xdist's workers judged."""
    verdicts = []
    for path in dict.fromkeys(run_folders(reporter)):
        try:
            run = read_run(path)
        except UnreadableRun as error:
            reporter.line(str(error))
            continue
        checks, replay = recorded_checks(path)
        verdicts.append(Verdict(run=run, checks=checks, replay=replay))
    return verdicts


def run_folders(reporter: pytest.TerminalReporter) -> Iterator[Path]:
    """Yield the run folder of every report that names one."""
    for reports in reporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "rlhf.run":
                    yield Path(value)


def recorded_checks(path: Path) -> tuple[tuple[Check, ...], str]:
    """Return the checks of a run, the last word on each, and the command that repeats the first failed one."""
    latest: dict[tuple[str, str], Check] = {}
    replay = ""
    for line in (path / "checks.jsonl").read_bytes().splitlines():
        record: dict[str, Any] = orjson.loads(line)
        check = decode_check(record)
        latest[record["test"], check.name] = check
        if check.status is Status.FAIL and not replay:
            replay = record["again"]
    return merge_per_metric(latest.values()), replay


def merge_per_metric(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Return the checks; those of one name for several metrics (`completeness[kl_div]`) as one, where they passed."""
    passed: dict[str, int] = {}
    merged: dict[str, Check] = {}
    for check in checks:
        name, per_metric, _ = check.name.partition("[")
        if per_metric and check.status is Status.PASS:
            passed[name] = passed.get(name, 0) + 1
            said = f"{count(passed[name], 'promised metric')} logged"
            merged[name] = Check(name=name, status=Status.PASS, headline=said, note=said)
        else:
            merged[check.name] = check
    return tuple(merged.values())


def speaks_unicode(reporter: pytest.TerminalReporter) -> bool:
    """Whether the encoding of what the session prints to has the cells of a sparkline."""
    stream = getattr(reporter.config.get_terminal_writer(), "_file", sys.stdout)
    try:
        "▁█→".encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
