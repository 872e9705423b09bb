from __future__ import annotations

import math
from pathlib import Path

import orjson
import pytest

from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.detector_registry import BUILT_IN
from rlhf_assert.detect.settings import Settings, project_settings, read_settings, settings_of
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
            detectors = { kl-runaway = 2.0, frozen = false, level-shift = true }
            """,
        )
    )

    assert settings == Settings(
        warning=0.2,
        critical=0.01,
        anomaly_threshold=8.0,
        thresholds={"kl_div": 6.0},
        detectors={"kl-runaway": 2.0, "frozen": False, "level-shift": True},
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
        ("detectors = { kl-runawy = 1 }", "unknown detector 'kl-runawy' .did you mean kl-runaway"),
        ("detectors = { frozen = 3 }", "true or false"),
        ("detectors = { kl-runaway = -1 }", "above 0"),
        ("thresholds = { kl = 6 }", "unknown metric 'kl' .did you mean kl_div"),
        ("thresholds = { rewrd = 6 }", "unknown metric 'rewrd' .did you mean reward"),
        ("thresholds = { kl_div = 0 }", "kl_div = 0.0, but a threshold must be above 0"),
        ("anomaly-threshold = nan", "anomaly-threshold = nan, but a threshold must be above 0"),
        (
            "thresholds = { entropy = 'high' }\ndetectors = { entropy = true }",
            "entropy = 'high', but it must be a number",
        ),
        ("anomaly-threshold = 'high'", "must be a number"),
        ("detectors = 3", "must be a table"),
        ("= 3", "pyproject.toml"),
    ],
)
def test_what_cannot_be_right_is_an_error_that_names_the_file(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_settings(written(tmp_path, f"[tool.rlhf-assert]\n{line}\n"))
    assert "\n" not in str(error.value)
    assert "pyproject.toml" in str(error.value)


def test_every_detector_is_known_by_its_name() -> None:
    everything = default_detectors(settings=Settings(detectors={"level-shift": True}))

    assert [detector.name for detector in everything] == list(BUILT_IN)


SET = Settings(
    warning=0.2,
    critical=0.01,
    anomaly_threshold=8,
    thresholds={"loss": math.inf},
    detectors={"frozen": False, "critic": True},
)


def test_settings_survive_the_trip_through_run_json() -> None:
    trip = orjson.loads(orjson.dumps(encode({"detection": SET.table()})))

    assert settings_of(trip) == SET
    assert settings_of({}) == Settings()


@pytest.mark.parametrize(
    "detection", [{"detectors": {"of-tomorrow": True}}, {"false-alarms": {"warning": "nan"}}, [], None]
)
def test_settings_that_this_version_does_not_know_are_told(detection: object) -> None:
    with pytest.raises(UnreadableRun, match=r"run\.json"):
        settings_of({"detection": detection})


def test_checks_is_the_former_name_of_detectors(tmp_path: Path) -> None:
    old = {"checks": {"kl-runaway": 2.0, "frozen": False}}
    new = Settings(detectors={"kl-runaway": 2.0, "frozen": False})

    assert Settings(**old) == new
    assert settings_of({"detection": old}) == new
    assert Settings().changed_by(old, "here") == new
    assert new.table()["detectors"] == old["checks"]
    assert "checks" not in new.table()
    text = "[tool.rlhf-assert]\nchecks = { kl-runaway = 3.0, frozen = false }\ndetectors = { kl-runaway = 2.0 }\n"
    assert read_settings(written(tmp_path, text)) == new
    with pytest.raises(UsageError, match="here: checks = 3, but it must be a table"):
        Settings().changed_by({"checks": 3}, "here")
    with pytest.raises(UsageError, match=r"unknown detector 'kl-runawy' .did you mean kl-runaway"):
        Settings(checks={"kl-runawy": 2.0})


def test_a_table_changes_only_what_it_names() -> None:
    changed = SET.changed_by(
        {"detectors": {"frozen": True}, "anomaly-threshold": 6, "thresholds": {"reward": 9}}, "here"
    )

    assert changed.detectors == {"frozen": True, "critic": True}
    assert changed.thresholds == {"loss": math.inf, "reward": 9.0}
    assert (changed.anomaly_threshold, changed.warning) == (6.0, 0.2)
    with pytest.raises(UsageError, match=r"here: unknown key 'detecotrs' .did you mean detectors"):
        SET.changed_by({"detecotrs": {}}, "here")
    with pytest.raises(UsageError, match="here: detectors = 3, but it must be a table"):
        SET.changed_by({"detectors": 3}, "here")


def test_the_project_is_the_nearest_folder_with_a_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "[tool.rlhf-assert]\nanomaly-threshold = 7\n")
    deeper = tmp_path / "src" / "deeper"
    deeper.mkdir(parents=True)
    monkeypatch.chdir(deeper)
    assert project_settings().anomaly_threshold == 7.0

    written(deeper, "[project]\nname = 'x'\n")
    assert project_settings() == Settings()
