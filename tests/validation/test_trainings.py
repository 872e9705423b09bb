"""Detectors that others have added judge by themselves in a validation: ours are judged without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rlhf_assert
from rlhf_assert import Anomaly, Severity
from rlhf_assert.detect.detector_registry import forget_detector
from rlhf_assert.detect.settings import Settings
from rlhf_assert.recording.run import Run
from rlhf_assert.training.request import Request
from rlhf_assert.validation.contenders import installed_contenders
from rlhf_assert.validation.score import OURS, Judged
from rlhf_assert.validation.trainings import Trainings


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    @rlhf_assert.detector(name="late-row", knob="step")
    class LateRow:
        name = "late-row"

        def __init__(self, threshold: float = 3) -> None:
            self.threshold = threshold

        def update(self, step: int, metrics: Any) -> Iterator[Anomaly]:
            if step == self.threshold:
                yield Anomaly(kind="late", metric="loss", severity=Severity.critical, onset=step, summary="late")

    @rlhf_assert.detector(name="broken")
    def broken() -> LateRow:
        raise ZeroDivisionError("in the making")

    yield
    forget_detector("late-row")
    forget_detector("broken")


@pytest.fixture
def judged(
    make_run: Callable[..., Run],
    make_training: Callable[..., Request],
    rows: list[Any],
    tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Settings], Judged]:
    """Return a function that judges a sound training by some settings."""
    monkeypatch.setattr(Trainings, "_recorded", lambda *_: make_run(rows))

    def judge(settings: Settings) -> Judged:
        with Trainings([make_training()], tmp_path, contenders=installed_contenders(), settings=settings) as trainings:
            (result,) = trainings.results.values()
            return result.result()

    return judge


def test_each_is_told_under_its_own_name_and_apart_from_ours(judged: Callable[[Settings], Judged]) -> None:
    result = judged(Settings())
    assert [(sign.source, sign.kind, sign.told) for sign in result.signs["late-row"]] == [("late-row", "late", 3)]
    assert [sign for sign in result.signs[OURS] if sign.severity >= Severity.warning] == []
    assert result.signs["broken"] == ()
    assert result.failed == {"broken": "ZeroDivisionError: in the making"}


def test_the_settings_hold_for_them(judged: Callable[[Settings], Judged]) -> None:
    result = judged(Settings(detectors={"late-row": 7, "broken": False}))
    assert [sign.told for sign in result.signs["late-row"]] == [7]
    assert "broken" not in result.signs
