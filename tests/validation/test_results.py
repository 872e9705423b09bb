from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.errors import RecordingError, UsageError
from rlhf_assert.recording.run import Run
from rlhf_assert.training.request import Request
from rlhf_assert.validation.publish import BEGIN, END, published
from rlhf_assert.validation.results import Results, conclude, json_report, markdown_report, text_report, write
from rlhf_assert.validation.score import OURS, ROWS, Judged
from rlhf_assert.validation.scorecard import Floor
from rlhf_assert.validation.signs import Sign

ABOUT = {"severity": "critical", "machine": "trl 1, 2 cores", "date": "2026-01-02", "command": "rlhf-assert validate"}


@pytest.fixture
def results(make_training: Callable[..., Request], make_sign: Callable[..., Sign]) -> Results:
    """One fault found, one missed, one healthy run quiet, one flagged; a contender that finds nothing."""
    run = Run(path=Path(), info={}, rows=(), series={}, original={}, unmapped=(), events=())

    def judged(training: Request, *signs: Sign) -> Judged:
        return Judged(training=training, run=run, signs={OURS: signs, ROWS: (), "Mine": ()}, causes=())

    trainings = [
        judged(make_training("reward_nan", 10), make_sign("rewards", check="rewards", told=11)),
        judged(make_training("slow_step", 10), make_sign("spike", onset=4, told=12)),
        judged(make_training()),
        judged(make_training(seed=1), make_sign("spike")),
    ]
    inapplicable = {make_training("value_head_scaled", 10): "no value head"}
    return conclude(trainings, inapplicable, severity=Severity.critical, floor=Floor(), about=ABOUT, with_ablation=True)


def test_the_json_answers_what_its_contract_says(results: Results) -> None:
    answer = json_report(results)
    found, missed = answer["faults"]
    assert {key: found[key] for key in ("fault", "scenario", "seed", "detected", "detector", "delay")} == {
        "fault": "reward_nan",
        "scenario": "trl-grpo",
        "seed": 0,
        "detected": True,
        "detector": "rewards",
        "delay": 1,
    }
    assert (missed["detected"], missed["detector"], missed["delay"]) == (False, None, None)
    assert found["others"]["Mine"] == {"detected": False, "detector": None, "delay": None}
    assert [control["flagged"] for control in answer["controls"]] == [False, True]
    assert set(answer["controls"][1]) >= {"scenario", "seed", "flagged", "findings"}
    assert list(answer["summary"]) == [OURS, ROWS, "Mine"]


def test_the_json_is_the_one_that_programs_know(results: Results) -> None:
    file = Path(__file__).parents[1] / "golden" / "answers" / "validate.json"
    answer = json.loads(json.dumps(json_report(results)))
    if os.environ.get("RLHF_ASSERT_RENEW_GOLDEN"):
        file.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    assert answer == json.loads(file.read_text(encoding="utf-8")), f"{file.name} is a public contract"


def test_the_text_says_what_was_missed_and_why(results: Results) -> None:
    text = text_report(results)
    assert "fault         1        1" in text
    assert "1/2 (50 %, 1 to 99)" in text
    assert "dated before the fault: spike: kl_div spike from step 4, told at 12" in text
    assert "no value head" in text
    assert "By fault, Mine" in text


def test_the_markdown_has_a_row_for_each_fault(results: Results) -> None:
    page = markdown_report(results)
    assert "Written 2026-01-02 by `rlhf-assert validate`." in page
    assert "| reward_nan | abrupt | grpo | 1/1 (100 %, 3 to 100) | 1 (1 to 1) | rewards 1 |" in page
    assert "| slow_step | abrupt | grpo | 0/1 (0 %, 0 to 98) | never (never to never) | nothing |" in page


def test_everything_is_written(results: Results, tmp_path: Path) -> None:
    answer, page, drawn = write(results, tmp_path / "out")
    assert json.loads(answer.read_text())["summary"][OURS]["recall"]["value"] == 0.5
    assert page.read_text() == markdown_report(results)
    svg = ET.fromstring(drawn.read_text())
    marks = [element.get("class") for element in svg.iter() if element.tag.endswith(("circle", "line"))]
    assert marks.count("abrupt") == 1  # found once
    assert marks.count("missed") == 2  # a cross of two strokes

    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="--out"):
        write(results, tmp_path / "file")


def test_a_report_takes_the_place_of_the_one_before() -> None:
    page = f"# Title\n{BEGIN}\nold\n{END}\nmore\n"
    assert published(page, "new\n") == f"# Title\n{BEGIN}\nnew\n{END}\nmore\n"
    with pytest.raises(UsageError, match="needs the lines"):
        published("# Title\n", "new")
