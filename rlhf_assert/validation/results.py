"""Everything that a validation came to, and how it is written: text, JSON, markdown and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_assert.detect import Severity
from rlhf_assert.errors import RecordingError
from rlhf_assert.numbers import count
from rlhf_assert.recording.files import write_json
from rlhf_assert.training.request import Request
from rlhf_assert.validation import tables
from rlhf_assert.validation.answer import answer
from rlhf_assert.validation.intervals import Rate
from rlhf_assert.validation.log_score import LogScore
from rlhf_assert.validation.picture import picture
from rlhf_assert.validation.score import Judged
from rlhf_assert.validation.scorecard import AblationRow, Floor, Summary, ablate, calibrate, judge_logs, summarise

JSON, MARKDOWN, PICTURE = "validation.json", "validation.md", "validation.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that a validation came to.

    Attributes:
        summaries: of every contender, ours first, then that of its detectors by rows alone.
        calibration: (budget, observed share of healthy runs with a warning).
        logs: what the detectors of rows told about faults planted in the logs of long healthy trainings.
        ablation: empty where it was not asked for.
        inapplicable: trainings that could not be, with the reason.
        below: what does not reach the floor, in words.
        about: the command, the date, the profile, the versions and the like, as text.
    """

    summaries: tuple[Summary, ...]
    calibration: tuple[tuple[float, Rate], ...]
    logs: tuple[LogScore, ...]
    ablation: tuple[AblationRow, ...]
    inapplicable: Mapping[Request, str]
    below: tuple[str, ...]
    about: Mapping[str, Any]

    @property
    def ours(self) -> Summary:
        """The summary of our detectors and checks."""
        return self.summaries[0]


def conclude(
    judged: Sequence[Judged],
    inapplicable: Mapping[Request, str],
    *,
    severity: Severity,
    floor: Floor,
    about: Mapping[str, Any],
    with_ablation: bool = False,
) -> Results:
    """Put together what a validation came to.

    Args:
        judged: what was told about each training, in the order of the plan; at least one.
        inapplicable: trainings that could not be, with the reason.
        severity: the severity from which a sign counts, for faults and for healthy runs alike.
        floor: what must be reached.
        about: see `Results`.
        with_ablation: judge again without each detector.
    """
    summaries = tuple(summarise(judged, name, severity) for name in judged[0].signs)
    logs = judge_logs(judged)
    return Results(
        summaries=summaries,
        calibration=tuple(calibrate(judged)),
        logs=logs,
        ablation=tuple(ablate(judged, severity, logs)) if with_ablation else (),
        inapplicable=inapplicable,
        below=tuple(summaries[0].below(floor)),
        about=about,
    )


def every_table(results: Results) -> Iterator[tables.Table]:
    """Yield the tables in the order in which they are read."""
    ours = results.ours
    yield tables.confusion(ours)
    yield tables.contenders(results.summaries)
    yield tables.faults(ours)
    for other in results.summaries[2:]:
        table = tables.faults(other)
        yield tables.Table(f"{table.title}, {other.contender}", table.columns, table.rows)
    yield tables.sources(ours)
    if results.logs:
        yield tables.log_faults(results.logs)
    yield tables.calibration(results.calibration)
    if results.ablation:
        yield tables.ablation(results.ablation)
    wrong = tables.misses(ours)
    if wrong.rows:
        yield wrong


def heading(results: Results) -> list[str]:
    """Return what was trained, with what, when, and how to repeat it, a line each."""
    about, ours = results.about, results.ours
    kinds = len({score.fault.kind for score in ours.faults})
    trained = f"{count(kinds, 'fault')} in {count(len(ours.faults), 'training')}, "
    trained += f"{len(ours.controls)} healthy ones; a sign counts from {about['severity']} on"
    lines = [f"{trained}; {about['machine']}", f"{about['date']}: {about['command']}"]
    return [*lines, *(f"not tried: {training.key}: {why}" for training, why in results.inapplicable.items())]


def text_report(results: Results) -> str:
    """Return the report for a terminal."""
    lines = [*heading(results), ""]
    for table in every_table(results):
        lines += tables.text(table)
    return "\n".join(lines).rstrip()


def markdown_report(results: Results) -> str:
    """Return the report for the docs: rates with 95 % intervals, delays in steps with theirs."""
    first, again, *rest = heading(results)
    lines = [first + ".", "", f"Written {again.replace(': ', ' by `', 1)}`.", *rest, ""]
    lines += [
        "Rates are followed by their 95 % interval (Clopper and Pearson), delays are medians in steps with a 95 %",
        "bootstrap interval; a fault that was not found is infinitely late.",
        "",
    ]
    for table in every_table(results):
        lines += tables.markdown(table)
    return "\n".join(lines).rstrip() + "\n"


def json_report(results: Results) -> dict[str, Any]:
    """Return the report for a program."""
    about = {**results.about, "below_the_floor": list(results.below)}
    about["not_tried"] = {training.key: why for training, why in results.inapplicable.items()}
    return answer(results.summaries, results.calibration, results.logs, results.ablation, about)


def write(results: Results, folder: Path) -> tuple[Path, ...]:
    """Write `validation.json`, `validation.md` and `validation.svg`, and return their paths.

    Raises:
        RecordingError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / JSON, json_report(results))
        (folder / MARKDOWN).write_text(markdown_report(results), encoding="utf-8")
        drawn = picture(results.ours, results.calibration, heading(results)[:2])
        (folder / PICTURE).write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be written: {error.strerror}; choose another with --out") from error
    return tuple(folder / name for name in (JSON, MARKDOWN, PICTURE))
