from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest

from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.settings import CHECKS, Settings, project_settings, read_settings, settings_of
from rlhf_assert.errors import UnreadableRun, UsageError
from rlhf_assert.recording.encoding import encode


def written(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


def test_everything_can_be_set(tmp_path: Path) -> None:
    settings = read_settings(
        written(
            tmp_path,
            """
            [tool.rlhf-assert]
            false-alarms = { warning = 0.2, critical = 0.01 }
            anomaly-threshold = 8
            thresholds = { kl_div = 6 }
            checks = { kl-runaway = 2.0, frozen = false, level-shift = true }
            """,
        )
    )

    assert settings == Settings(
        warning=0.2,
        critical=0.01,
        anomaly_threshold=8.0,
        thresholds={"kl_div": 6.0},
        checks={"kl-runaway": 2.0, "frozen": False, "level-shift": True},
    )
    names = [detector.name for detector in default_detectors(settings=settings)]
    assert "frozen" not in names
    assert "level-shift" in names


def test_without_a_file_or_a_table_the_defaults_hold(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "pyproject.toml") == Settings()
    assert read_settings(written(tmp_path, "[project]\nname = 'x'\n")) == Settings()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fals-alarms = {}", "unknown key 'fals-alarms' .did you mean false-alarms"),
        ("false-alarms = { waring = 0.1 }", "unknown key false-alarms.waring .did you mean warning"),
        ("false-alarms = { warning = 2 }", "must lie between 0 and 1"),
        ("checks = { kl-runawy = 1 }", "unknown check 'kl-runawy' .did you mean kl-runaway"),
        ("checks = { frozen = 3 }", "true or false"),
        ("checks = { kl-runaway = -1 }", "above 0"),
        ("thresholds = { kl = 6 }", "unknown metric 'kl' .did you mean kl_div"),
        ("thresholds = { rewrd = 6 }", "unknown metric 'rewrd' .did you mean reward"),
        ("thresholds = { kl_div = 0 }", "kl_div = 0.0, but a threshold must be above 0"),
        ("anomaly-threshold = nan", "anomaly-threshold = nan, but a threshold must be above 0"),
        ("thresholds = { entropy = 'high' }\nchecks = { entropy = true }", "entropy = 'high', but it must be a number"),
        ("anomaly-threshold = 'high'", "must be a number"),
        ("checks = 3", "must be a table"),
        ("= 3", "pyproject.toml"),
    ],
)
def test_what_cannot_be_right_is_an_error_that_names_the_file(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_settings(written(tmp_path, f"[tool.rlhf-assert]\n{line}\n"))
    assert "\n" not in str(error.value)
    assert "pyproject.toml" in str(error.value)


def test_every_check_is_known_by_its_detector_s_name() -> None:
    everything = default_detectors(settings=Settings(checks={"level-shift": True}))

    assert [detector.name for detector in everything] == list(CHECKS)


SET = Settings(
    warning=0.2,
    critical=0.01,
    anomaly_threshold=8,
    thresholds={"loss": math.inf},
    checks={"frozen": False, "critic": True},
)


def test_settings_survive_the_trip_through_run_json() -> None:
    trip = orjson.loads(orjson.dumps(encode({"detection": SET.table()})))

    assert settings_of(trip) == SET
    assert settings_of({}) == Settings()


@pytest.mark.parametrize(
    "detection", [{"checks": {"of-tomorrow": True}}, {"false-alarms": {"warning": "nan"}}, [], None]
)
def test_settings_that_this_version_does_not_know_are_told(detection: object) -> None:
    with pytest.raises(UnreadableRun, match=r"run\.json"):
        settings_of({"detection": detection})


def test_a_table_changes_only_what_it_names() -> None:
    changed = SET.changed_by({"checks": {"frozen": True}, "anomaly-threshold": 6, "thresholds": {"reward": 9}}, "here")

    assert changed.checks == {"frozen": True, "critic": True}
    assert changed.thresholds == {"loss": math.inf, "reward": 9.0}
    assert (changed.anomaly_threshold, changed.warning) == (6.0, 0.2)
    with pytest.raises(UsageError, match=r"here: unknown key 'chekcs' .did you mean checks"):
        SET.changed_by({"chekcs": {}}, "here")
    with pytest.raises(UsageError, match="here: checks = 3, but it must be a table"):
        SET.changed_by({"checks": 3}, "here")


def test_the_project_is_the_nearest_folder_with_a_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[tool.rlhf-assert]\nanomaly-threshold = 7\n")
    deeper = tmp_path / "src" / "deeper"
    deeper.mkdir(parents=True)
    monkeypatch.chdir(deeper)
    assert project_settings().anomaly_threshold == 7.0

    written(deeper, "[project]\nname = 'x'\n")
    assert project_settings() == Settings()
