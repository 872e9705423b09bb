"""GitHub Actions: annotations, and the Markdown of the step summary.

Formats: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
"""

from collections.abc import Iterable, Sequence

from rlhf_assert.metrics import label
from rlhf_assert.report.live import seconds
from rlhf_assert.report.reported_causes import without_name
from rlhf_assert.report.wording import first_sign, mark, verdict_word
from rlhf_assert.verdict import Verdict

LEVELS = {"CRIT": "error", "warn": "warning"}


def annotations(verdicts: Iterable[Verdict], *, file: str = "", line: int | None = None) -> list[str]:
    """Return an `::error` line for each failed check and a `::warning` line for each check that passed with warnings.

    Args:
        verdicts: the judged runs.
        file: path, relative to the repository, that the annotations belong to; by default the run's scenario file.
        line: a line of that file.
    """
    lines = []
    for verdict in verdicts:
        where = file or str(verdict.run.info.get("file") or "")
        for check in verdict.checks:
            level = LEVELS.get(mark(check))
            if level is None:
                continue
            told = check.headline if level == "error" else f"{check.name} {without_name(check)}"
            lines.append(annotation(level, told, title=f"{verdict.run.title}: {check.name}", file=where, line=line))
    return lines


def annotation(level: str, message: str, *, title: str = "", file: str = "", line: int | None = None) -> str:
    """Return one workflow command, for example `::error file=a.py,line=3,title=kl::kl runaway from step 15`."""
    properties = [("file", file), ("line", "" if line is None else str(line)), ("title", title)]
    listed = ",".join(f"{name}={_escape_property(value)}" for name, value in properties if value)
    return f"::{level}{' ' if listed else ''}{listed}::{_escape(message)}"


def step_summary(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table with a row per run and, below it, what failed and how to repeat it."""
    lines = [
        "### rlhf health",
        "",
        "| | scenario | seed | steps | time | failed | warnings | not judged | first sign |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for verdict in verdicts:
        run, checks = verdict.run, verdict.checks
        named = {word: [check.name for check in checks if mark(check) == word] for word in ("CRIT", "warn")}
        sign = first_sign(checks)
        cells = [
            verdict_word(checks),
            run.title,
            "" if run.seed is None else str(run.seed),
            str(run.steps),
            seconds(run.seconds),
            ", ".join(named["CRIT"]),
            ", ".join(named["warn"]),
            ", ".join(check.name for check in checks if mark(check) in ("few", "skip")),
            f"{label(sign.metric) or sign.kind} {sign.onset}" if sign else "",
        ]
        lines.append("| " + " | ".join(_escape_cell(cell) for cell in cells) + " |")
    for verdict in verdicts:
        if not verdict.failures:
            continue
        lines += ["", f"**{_escape_cell(verdict.run.title)}**, seed {verdict.run.seed}", ""]
        for check in verdict.failures:
            cause = f" Cause: {check.cause}." if check.cause else ""
            lines.append(f"- {_escape_cell(check.headline + '.' + cause)}")
        if verdict.replay:
            lines += ["", "```", verdict.replay.replace("`", ""), "```"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def _escape_cell(text: str) -> str:
    """Return text that Markdown shows as it stands, in one line."""
    line = " ".join(text.split())
    for character in "\\`*_[]<>|#":
        line = line.replace(character, "\\" + character)
    return line
