"""What the command line and the project set about detection, and how a log is then judged."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from rlhf_assert.cli import main
from rlhf_assert.detect.detector_registry import forget_detector
from rlhf_assert.detect.settings import Settings


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder without settings of its own, as the working folder."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\nname = 'x'\n")
    return file


@pytest.fixture
def log(tmp_path, rows):
    """A sound log whose kl ends at 0.2, with one spike of the reward."""
    rows[30]["reward"] = 3.0
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps({"step": step, **row}) + "\n" for step, row in enumerate(rows, 1)))
    return path


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def found(path, *options):
    result = call("check", "--format=json", path, *options)
    assert result.exit_code in (0, 1), result.output
    (run,) = json.loads(result.stdout)["runs"]
    return {(one["kind"], one["metric"]): one for one in run["findings"]}


def test_a_limit_of_a_detector_is_the_one_that_judges(log):
    assert found(log) == {}
    assert found(log, "--detector=kl-runaway=0.05")["kl-runaway", "kl_div"]["evidence"]["limit"] == 0.05
    assert found(log, "--detector=kl-runaway=0.05", "--detector=kl-runaway=off") == {}


def test_check_is_the_former_name_of_the_option(log):
    assert found(log, "--check=kl-runaway=0.05") == found(log, "--detector=kl-runaway=0.05") != {}
    assert found(log, "--check=kl-runaway=0.05", "--detector=kl-runaway=off") == {}


def test_a_detector_of_a_file_judges_beside_ours(log, tmp_path):
    file = tmp_path / "my_detectors.py"
    file.write_text(
        """
import rlhf_assert
from rlhf_assert import Anomaly, Severity


@rlhf_assert.detector(name="first-row", knob="rows")
class FirstRow:
    name = "first-row"

    def __init__(self, threshold=1):
        self.left = threshold

    def update(self, step, metrics):
        self.left -= 1
        if self.left == 0:
            yield Anomaly(kind="row", metric="reward", severity=Severity.critical, onset=step, summary="is a row")
"""
    )
    try:
        assert found(log, f"--detector={file}")["row", "reward"]["onset"] == 1
        assert found(log, f"--detector={file}", "--detector=first-row=5")["row", "reward"]["onset"] == 5
        assert found(log, f"--detector={file}", "--detector=first-row=off") == {}
        result = call("check", log, log, f"--detector={file}::nothing")
        assert result.exit_code == 2
        assert "defines no nothing" in result.stderr
    finally:
        forget_detector("first-row")


def test_the_z_score_s_threshold_is_set_for_one_metric_and_for_all(log):
    assert found(log, "--z-threshold=5").keys() == {("z-score", "reward")}
    assert found(log, "--z-threshold=reward=5").keys() == {("z-score", "reward")}
    assert found(log, "--z-threshold=kl_div=5") == {}
    assert found(log, "--z-threshold=5", "--z-threshold=reward=inf") == {}
    assert found(log, "--z-threshold=5", "--detector=z-score=off") == {}


def test_the_project_s_settings_judge_and_options_go_before_them(project, log):
    project.write_text("[tool.rlhf-assert]\ndetectors = { kl-runaway = 0.05 }\nanomaly-threshold = 5\n")
    assert found(log).keys() == {("kl-runaway", "kl_div"), ("z-score", "reward")}
    assert found(log, "--detector=kl-runaway=2").keys() == {("z-score", "reward")}


def test_a_recorded_run_keeps_its_settings_and_options_go_before_them(project, make_run, rows):
    project.write_text("[tool.rlhf-assert]\ndetectors = { kl-runaway = 0.01 }\n")
    run = make_run(rows, detection=Settings(detectors={"kl-runaway": 0.05}).table())
    assert found(run.path)["kl-runaway", "kl_div"]["evidence"]["limit"] == 0.05
    assert found(run.path, "--detector=kl-runaway=2") == {}
    without = make_run(rows)  # of a version that kept none
    assert found(without.path)["kl-runaway", "kl_div"]["evidence"]["limit"] == 0.01


def test_settings_of_another_version_are_told_for_that_run_only(make_run, rows, log):
    run = make_run(rows, detection={"detectors": {"of-tomorrow": True}})
    result = call("check", run.path, log)
    assert result.exit_code == 2
    assert "unreadable run.json, detection: detectors: unknown detector 'of-tomorrow'" in " ".join(
        result.output.split()
    )
    assert "1 of 2 judged" in result.output
    assert "run.json, detection: detectors: unknown detector" in call("report", run.path).output


def test_how_many_false_alarms_to_expect_is_told(log, tmp_path):
    def alarms(*arguments):
        return [line for line in call("check", *arguments).output.splitlines() if line.startswith("alarms")]

    (told,) = alarms(log)
    assert told.endswith("; at most 0.05 false warnings, 0.005 criticals expected at this budget")
    (told,) = alarms(log, log, "--false-alarms=0.01")
    assert told.endswith("; at most 0.02 false warnings, 0.002 criticals expected at this budget")
    (told,) = alarms(log, "--false-alarms=0.2,0.1")
    assert told.endswith("; at most 0.2 false warnings, 0.1 criticals expected at this budget")
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps({"step": step, "entropy": 2.0 - step / 100}) + "\n" for step in range(20)))
    (told,) = alarms(other)
    assert told.endswith("; no check drew on the false-alarm budget")
    assert alarms(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--false-alarms=2", "must lie between 0 and 1"),
        ("--false-alarms=often", "--false-alarms=often: 'often' is no number"),
        ("--false-alarms=0.01,", "--false-alarms=0.01,: nothing is no number"),
        ("--false-alarms=0.01,0.02", "critical=0.02 is above warning=0.01"),
        ("--detector=kl-runawy=2", "unknown detector 'kl-runawy' (did you mean kl-runaway?)"),
        ("--detector=frozen", "--detector=frozen: nothing is no number, on or off"),
        ("--detector=frozen=3", "frozen = 3.0, but it takes true or false, no threshold"),
        ("--detector=kl-runaway=-1", "its threshold must be above 0"),
        ("--z-threshold=kl=6", "unknown metric 'kl' (did you mean kl_div?)"),
        ("--z-threshold=rewrad=6", "unknown metric 'rewrad' (did you mean reward?)"),
        ("--z-threshold=nan", "anomaly-threshold = nan, but a threshold must be above 0"),
        ("--detectr=frozen=off", "--detector"),
    ],
)
def test_an_option_that_cannot_be_right_is_a_usage_error(log, option, message):
    result = call("check", log, option)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_a_project_that_cannot_be_right_is_a_usage_error(project, log):
    project.write_text("[tool.rlhf-assert]\nfalse-alarm = {}\n")
    result = call("check", log)
    assert result.exit_code == 2
    assert "[tool.rlhf-assert]: unknown key 'false-alarm' (did you mean false-alarms?)" in " ".join(
        result.stderr.split()
    )
