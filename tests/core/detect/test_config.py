from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_assert.detect.config import CHECKS, Settings, read_settings
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.errors import UsageError


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
        ("thresholds = { kl = 6 }", "unknown metric 'kl'"),
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
