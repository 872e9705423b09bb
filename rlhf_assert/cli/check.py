"""`rlhf-assert check`: judge run directories."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import click

from rlhf_assert.check import Status
from rlhf_assert.cli.output import finish, plain, print_json, width, word
from rlhf_assert.cli.paths import read
from rlhf_assert.errors import RlhfAssertError
from rlhf_assert.numbers import count
from rlhf_assert.report import github
from rlhf_assert.report.diagnosis import diagnose
from rlhf_assert.report.findings import findings, without_name
from rlhf_assert.report.layout import clean, columns, hang, pad
from rlhf_assert.report.outcome import Outcome, findings_of, mark, verdict_word
from rlhf_assert.report.summary import facts
from rlhf_assert.verdict import judge

SEVERITIES = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one path of the command line: an outcome, or why there is none."""

    source: str
    outcome: Outcome | None = None
    error: str | None = None
    findings: list[dict[str, Any]] = field(default_factory=list)

    @property
    def judged(self) -> bool:
        """Whether at least one check judged."""
        return self.outcome is not None and self.outcome.judged > 0


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--format", "output", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "critical", "never"]),
    default="critical",
    show_default=True,
    help="The least severity that gives exit code 1.",
)
@click.option("--allow-unjudged", is_flag=True, help="Accept what cannot be read or judged: no exit code 2 for it.")
def check(paths: tuple[str, ...], output: str, fail_on: str, allow_unjudged: bool) -> None:  # noqa: FBT001
    """Judge run directories. Each path has its entry in the answer, readable or not."""
    answers = [_answer(path) for path in paths]
    if output == "json":
        print_json({"runs": [as_json(answer) for answer in answers]})
    elif output == "github":
        _print_annotations(answers)
    elif len(answers) == 1:
        _print_one(answers[0])
    else:
        _print_many(answers)
    code, why = conclude(answers, fail_on, allow_unjudged=allow_unjudged)
    finish(code, why, quiet=output == "json")


def conclude(answers: list[Answer], fail_on: str, *, allow_unjudged: bool) -> tuple[int, str]:
    """Return the exit code and why."""
    found = [finding["severity"] for answer in answers for finding in answer.findings]
    counted = 0
    if fail_on != "never":
        counted = sum(SEVERITIES.index(severity) >= SEVERITIES.index(fail_on) for severity in found)
    missing = sum(not answer.judged for answer in answers)
    judged = f"{len(answers) - missing} of {len(answers)} judged"
    findings_counted = count(counted, "finding")
    if counted:
        return 1, f"{findings_counted}, --fail-on={fail_on}; {judged}"
    if missing and not allow_unjudged:
        return 2, f"{judged}; --allow-unjudged to pass on what was judged"
    return 0, f"{judged}; --fail-on={fail_on}" + ("; --allow-unjudged" if missing else "")


def as_json(answer: Answer) -> dict[str, Any]:
    """Return the entry of one path in the JSON answer."""
    outcome = answer.outcome
    checks = outcome.checks if outcome else ()
    return {
        "source": answer.source,
        "steps": outcome.run.steps if outcome else 0,
        "metrics": list(outcome.run.series) if outcome else [],
        "unmapped": list(outcome.run.unmapped) if outcome else [],
        "findings": answer.findings,
        "skipped": [
            {"check": check.name, "reason": check.headline}
            for check in checks
            if check.status in (Status.SKIPPED, Status.INSUFFICIENT)
        ],
        "error": answer.error,
    }


def _answer(path: str) -> Answer:
    try:
        run = read(path)

        outcome = Outcome(run, judge(run).checks)
    except RlhfAssertError as error:
        return Answer(path, error=str(error))
    return Answer(path, outcome, findings=findings_of(outcome.checks))


def _print_annotations(answers: list[Answer]) -> None:

    for answer in answers:
        if answer.error:
            click.echo(github.annotation("error", f"{answer.source}: {answer.error}", title="unreadable"))
        elif answer.outcome:
            lines = github.annotations([answer.outcome])
            click.echo("\n".join(lines) if lines else f"{answer.source}: {_facts(answer.outcome)}")
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    outcomes = [answer.outcome for answer in answers if answer.outcome]
    if file and outcomes:
        try:
            with open(file, "a", encoding="utf-8") as stream:  # noqa: PTH123 - the runner's file, to append to
                stream.write(github.step_summary(outcomes))
        except OSError as error:
            click.echo(f"{file}: the step summary cannot be written: {error.strerror}", err=True)


def _print_many(answers: list[Answer]) -> None:
    source_width = max(columns(answer.source) for answer in answers) + 2
    for answer in answers:
        verdict, text = _short(answer)
        lines = hang(
            "",
            [clean(text, ascii=plain())],
            label_width=source_width + 13,
            width=max(width(), source_width + 13 + 60),
        )
        click.echo(pad(answer.source, source_width) + word(verdict, 13) + lines[0].lstrip())
        for line in lines[1:]:
            click.echo(line)
        if answer.outcome:
            _print_findings(answer.outcome, indent="  ", brief=True)


def _short(answer: Answer) -> tuple[str, str]:
    if answer.outcome is None:
        return "unreadable", answer.error or ""

    if not answer.judged:
        reasons = "; ".join(f"{check.name}: {check.headline}" for check in answer.outcome.checks)
        return "not judged", reasons
    return verdict_word(answer.outcome.checks), _facts(answer.outcome)


def _facts(outcome: Outcome) -> str:

    marks = [mark(check) for check in outcome.checks]
    unjudged = marks.count("few") + marks.count("skip")
    passed = marks.count("pass") + marks.count("warn")
    return f"{count(len(outcome.run.rows), 'row')}, {count(passed, 'check')} passed, {unjudged} not judged"


def _print_one(answer: Answer) -> None:
    outcome = answer.outcome
    if outcome is None:
        click.echo(f"{answer.source}   unreadable   {clean(answer.error or '', ascii=plain())}")
        return

    run = outcome.run
    algorithm = str(run.info.get("algorithm") or "unknown algorithm").upper()
    steps = [row.step for row in run.rows]
    extent = f", steps {min(steps)} to {max(steps)}" if steps else ""
    rows = count(len(run.rows), "row")
    click.echo(f"{answer.source}   {run.scenario}, {algorithm}; {rows}{extent}, {count(len(run.series), 'metric')}")
    click.echo(f"{'':{columns(answer.source)}}   {facts(run)}")
    click.echo()
    _print_findings(outcome, indent="", brief=False)
    marks = [mark(check) for check in outcome.checks]
    named = [check.name for check, its in zip(outcome.checks, marks, strict=True) if its == "pass"]
    unjudged = [
        f"{check.name}: {check.headline}"
        for check, its in zip(outcome.checks, marks, strict=True)
        if its in ("few", "skip")
    ]
    _print_row("passed", ["  ".join(named)] if named else [])
    _print_row("not judged", unjudged)
    if run.unmapped:
        _print_row("unknown", [f"{count(len(run.unmapped), 'key')}: {', '.join(run.unmapped)}"])
    if run.torn_lines:
        _print_row("dropped", [f"{count(run.torn_lines, 'line')} that were cut off or no JSON"])
    click.echo()
    failed, warned = marks.count("CRIT"), marks.count("warn")
    click.echo(
        f"{failed} critical, {count(warned, 'warning')}, {len(named)} passed, "
        f"{marks.count('few') + marks.count('skip')} not judged."
    )


def _print_row(name: str, texts: list[str]) -> None:
    for line in hang(name, [clean(text, ascii=plain()) for text in texts], label_width=13, width=width()):
        click.echo(line)


def _print_findings(outcome: Outcome, *, indent: str, brief: bool) -> None:

    told = findings([outcome])
    by_name = {check.name: check for check in outcome.checks}
    names = [name for finding in told for name in (finding.check, *(follower for follower, _ in finding.consequences))]
    name_width = max(map(columns, names), default=0) + 2
    for finding in told:
        check = by_name[finding.check]
        full = not brief and finding.mark == "CRIT"
        text = check.headline if full else without_name(check)
        if full:
            room = width() - 6
            lines = diagnose(check, outcome.run, width=max(room, 60), ascii=plain()).splitlines()
            click.echo(word(finding.mark, 6) + lines[0])
            for line in lines[1:]:
                click.echo(("      " + line).rstrip())
        else:
            left = len(indent) + 6 + name_width
            lines = hang("", [clean(text, ascii=plain())], label_width=left, width=width())
            click.echo(indent + word(finding.mark, 6) + pad(finding.check, name_width) + lines[0].lstrip())
            for line in lines[1:]:
                click.echo(line)
        for index, (name, consequence) in enumerate(finding.consequences):
            left_text = indent + " " * 8 + pad(name, name_width)
            text = clean(consequence, ascii=plain())
            if full:  # a row of the diagnosis
                left_text, text = f"        {'' if index else 'follows':12}", f"{name}: {text}"
            click.echo("\n".join(hang(left_text, [text], label_width=columns(left_text), width=width())))
        if not brief:
            click.echo()
