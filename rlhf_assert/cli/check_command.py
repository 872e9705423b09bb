"""`rlhf-assert check`: judge run directories, and logs that other programs wrote."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path

import click

from rlhf_assert.cli.check_text import Style, short_facts
from rlhf_assert.cli.detection_options import detection_of, detection_options
from rlhf_assert.cli.output import finish, plain, print_json, width, word
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.errors import UsageError
from rlhf_assert.judging.answers import Answer, expand, unreadable
from rlhf_assert.judging.detection import Detection
from rlhf_assert.judging.pool import judge_all
from rlhf_assert.numbers import count
from rlhf_assert.report import github
from rlhf_assert.report.layout import clean, columns, hang, pad
from rlhf_assert.report.summary import false_alarms as told_alarms
from rlhf_assert.report.wording import verdict_word
from rlhf_assert.training.python_file import load_module

SEVERITIES = ("info", "warning", "critical")


@click.command(epilog=f"Detectors: {', '.join(BUILT_IN)}. What each looks for: docs/detectors.md.")
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
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE.py|MODULE",
    help="Import checks and detectors of yours: what it decorates is asked, too. Repeatable.",
)
@detection_options
def check(
    paths: tuple[str, ...],
    output: str,
    fail_on: str,
    allow_unjudged: bool,  # noqa: FBT001 - click calls by name
    false_alarms: str | None,
    plugins: tuple[str, ...],
    detectors: tuple[str, ...],
    z_thresholds: tuple[str, ...],
) -> None:
    """Judge training logs: run directories, trainer_state.json, JSONL, CSV, TensorBoard events, console output.

    A folder stands for every log in it. Each path has its entry in the answer, readable or not.

    The last three options go before [tool.rlhf-assert] of the nearest pyproject.toml, and before the settings that a
    run directory keeps.
    """
    import_plugins(plugins)
    detection = detection_of(false_alarms, detectors, z_thresholds)
    answers = _answers(paths, Style(width(), plain()) if output == "text" else None, detection)
    if output == "json":
        print_json({"runs": [answer.entry for answer in answers]})
    elif output == "github":
        _print_annotations(answers)
    elif len(answers) == 1:
        print_one(answers[0])
    else:
        _print_many(answers)
    if output == "text":
        print_alarms(answers)
    code, why = conclude(answers, fail_on, allow_unjudged=allow_unjudged)
    finish(code, why, quiet=output == "json")


def import_plugins(words: Sequence[str]) -> None:
    """Import the files and modules that register checks and detectors.

    Raises:
        click.UsageError: one cannot be imported.
    """
    for named in words:
        try:
            if named.endswith(".py"):
                load_module(Path(named))
            else:
                importlib.import_module(named)
        except UsageError as error:
            raise click.UsageError(f"--plugin {error}") from error
        except Exception as error:
            raise click.UsageError(f"--plugin {named}: cannot be imported: {type(error).__name__}: {error}") from error


def conclude(answers: Sequence[Answer], fail_on: str, *, allow_unjudged: bool = False) -> tuple[int, str]:
    """Return the exit code and why."""
    severities = [finding["severity"] for answer in answers for finding in answer.findings]
    counted = 0
    if fail_on != "never":
        counted = sum(SEVERITIES.index(severity) >= SEVERITIES.index(fail_on) for severity in severities)
    missing = sum(not answer.judged for answer in answers)
    errors = sum(answer.errors for answer in answers)
    judged = f"{len(answers) - missing} of {len(answers)} judged"
    findings_counted = count(counted, "finding")
    if counted:
        return 1, f"{findings_counted}, --fail-on={fail_on}; {judged}"
    if errors and not allow_unjudged:
        return 2, f"{count(errors, 'check')} failed to judge; {judged}; --allow-unjudged to pass on what was judged"
    if missing and not allow_unjudged:
        return 2, f"{judged}; --allow-unjudged to pass on what was judged"
    return 0, f"{judged}; --fail-on={fail_on}" + ("; --allow-unjudged" if missing else "")


def print_one(answer: Answer) -> None:
    """Print one log at length, or why it could not be judged."""
    if answer.verdict is None:
        verdict, text = _short(answer)
        click.echo(f"{_name(answer)}   {verdict}   {clean(text, ascii=plain())}")
        return
    left = f"{_name(answer)}   "
    first, *rest = answer.header
    click.echo(left + clean(first, ascii=plain()))
    for line in rest:
        click.echo(" " * columns(left) + clean(line, ascii=plain()))
    click.echo(answer.text)


def print_alarms(answers: Sequence[Answer]) -> None:
    """Print how many false alarms to expect of what was judged; nothing where nothing was."""
    verdicts = [(answer, answer.verdict) for answer in answers if answer.verdict is not None and answer.judged]
    if verdicts:
        told = told_alarms([answer.false_alarms for answer, _ in verdicts], sum(one.judged for _, one in verdicts))
        click.echo("\n".join(hang("alarms", [told], label_width=13, width=width())))


def _answers(paths: Sequence[str], style: Style | None, detection: Detection) -> list[Answer]:
    logs: list[str | Answer] = []
    for path in paths:
        expanded, why = expand(path)
        logs += expanded or [unreadable(path, str(why))]
    readable = [log for log in logs if isinstance(log, str)]
    judged = dict(zip(readable, judge_all(readable, style, detection, alone=len(logs) == 1), strict=True))
    return [answer for log in logs for answer in ([log] if isinstance(log, Answer) else judged[log])]


def _print_annotations(answers: list[Answer]) -> None:
    for answer in answers:
        told = f"{_name(answer)}: {short_facts(answer.verdict, answer.rows)}" if answer.verdict else ""
        click.echo("\n".join(answer.annotations) or told)
    file = os.environ.get("GITHUB_STEP_SUMMARY")
    verdicts = [answer.verdict for answer in answers if answer.verdict]
    if file and verdicts:
        try:
            with open(file, "a", encoding="utf-8") as stream:  # noqa: PTH123 - the runner's file, to append to
                stream.write(github.step_summary(verdicts))
        except OSError as error:
            click.echo(f"{file}: the step summary cannot be written: {error.strerror}", err=True)


def _print_many(answers: list[Answer]) -> None:
    source_width = max(columns(_name(answer)) for answer in answers) + 2
    left = source_width + 13
    for answer in answers:
        verdict, text = _short(answer)
        lines = hang("", [clean(text, ascii=plain())], label_width=left, width=max(width(), left + 60))
        click.echo(pad(_name(answer), source_width) + word(verdict, 13) + lines[0].lstrip())
        for line in lines[1:]:
            click.echo(line)
        if answer.text:
            click.echo(answer.text)


def _name(answer: Answer) -> str:
    return clean(answer.source, ascii=plain())


def _short(answer: Answer) -> tuple[str, str]:
    if answer.verdict is None:
        return ("unreadable", answer.error) if answer.error is not None else ("not judged", answer.unjudged)
    if not answer.judged:
        return "not judged", "; ".join(f"{check.name}: {check.headline}" for check in answer.verdict.checks)
    return verdict_word(answer.verdict.checks), short_facts(answer.verdict, answer.rows)
