"""A detector that fails is switched off and named, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rlhf_assert.detect import Anomaly, Severity, discover
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.scan import Stream
from rlhf_assert.recording.rows import Block, Row

ANOMALY = Anomaly(kind="row", metric="loss", severity=Severity.warning, onset=1, summary="a row")


class Reports:
    """Reports at each row what it is given."""

    def __init__(self, *reports: Any, name: str = "reports") -> None:
        self.name = name
        self._reports = reports

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterator[Any]:
        yield from self._reports


class Raises(Reports):
    """Reports what it is given at each row, and raises at the third."""

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterator[Any]:
        yield from self._reports
        if step == 3:
            raise ZeroDivisionError("at the third row")


def rows(count: int = 5) -> list[Row]:
    return [Row(step, None, {"loss": 1.0}) for step in range(1, count + 1)]


def test_a_detector_that_raises_is_off_and_the_others_go_on() -> None:
    stream = Stream([Raises(ANOMALY, name="broken"), Reports(ANOMALY, name="sound")])

    reported = [anomaly.detector for anomaly in discover(rows(), stream)]

    assert (reported.count("broken"), reported.count("sound")) == (3, 5)
    assert stream.failed == {"broken": "ZeroDivisionError: at the third row"}


def test_the_monitor_names_it() -> None:
    monitor = Monitor([Raises(), Reports(ANOMALY)])
    for row in rows(2):
        monitor.update(row.step, row.metrics)
    assert monitor.failed_detectors == {}
    assert len(monitor.update(3, {"loss": 1.0})) == 1
    assert monitor.failed_detectors == {"reports": "ZeroDivisionError: at the third row"}


@pytest.mark.parametrize(
    ("report", "error"),
    [
        ({"kind": "row"}, "TypeError: reported {'kind': 'row'}, which is no Anomaly"),
        (None, "TypeError: reported None, which is no Anomaly"),
        (replace(ANOMALY, severity="critical"), "TypeError: reported severity='critical', which is no Severity"),
        (replace(ANOMALY, severity=2), "TypeError: reported severity=2, which is no Severity"),
        (replace(ANOMALY, onset=1.5), "TypeError: reported onset=1.5, which is no step"),
        (replace(ANOMALY, metric=None), "TypeError: reported metric=None, which is no text"),
        (replace(ANOMALY, causes="one"), "TypeError: reported causes='one', which is no tuple of texts"),
        (replace(ANOMALY, evidence=[1]), "TypeError: reported evidence=[1], which is no mapping"),
        (replace(ANOMALY, evidence={"x": object}), "TypeError: reported evidence x=<class 'object'>, which is neither"),
    ],
)
def test_a_malformed_report_switches_its_detector_off(report: Any, error: str) -> None:
    stream = Stream([Reports(ANOMALY, report, ANOMALY, name="broken"), Reports(ANOMALY, name="sound")])

    reported = [anomaly.detector for anomaly in discover(rows(), stream)]

    assert (reported.count("broken"), reported.count("sound")) == (1, 5)
    assert stream.failed["broken"].startswith(error)


def test_numbers_of_numpy_become_plain_ones() -> None:
    report = replace(ANOMALY, onset=np.int64(1), evidence={"z": np.float32(0.5), "rows": np.int64(3)})

    (anomaly,) = discover(rows(1), [Reports(report)])

    assert (type(anomaly.onset), anomaly.evidence) == (int, {"z": 0.5, "rows": 3})
    assert {type(value) for value in anomaly.evidence.values()} == {int, float}


class NoUpdate:
    name = "no-update-at-all"


class NoName(Reports):
    name: str = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __init__(self) -> None:
        self._reports = ()


class FailsToFinish(Reports):
    @property
    def finished(self) -> bool:
        raise RuntimeError("never")


class FailsToAbsorb(Reports):
    def absorb(self, block: Block) -> bool:
        raise RuntimeError("no blocks")


@pytest.mark.parametrize(
    ("make", "failed"),
    [
        (NoUpdate, {"no-update-at-all": "AttributeError: 'NoUpdate' object has no attribute 'update'"}),
        (NoName, {"NoName": "ZeroDivisionError: division by zero"}),
        (FailsToFinish, {"reports": "RuntimeError: never"}),
        (FailsToAbsorb, {"reports": "RuntimeError: no blocks"}),
    ],
)
def test_every_member_is_guarded(make: Callable[[], Any], failed: dict[str, str]) -> None:
    stream = Stream([make(), Reports(ANOMALY, name="sound")])
    stream.update(1, {"loss": 1.0})

    block = Block(np.arange(2, 102), {"loss": np.ones(100)})

    assert len(stream.absorb(block)) == 100
    assert stream.failed == failed


def test_a_detector_that_fails_within_a_block_gets_no_more_of_its_rows() -> None:
    stream = Stream([Raises(ANOMALY, name="broken"), Reports(ANOMALY, name="sound")])
    stream.update(1, {"loss": 1.0})

    reported = [anomaly.detector for anomaly in stream.absorb(Block(np.arange(2, 12), {"loss": np.ones(10)}))]

    assert (reported.count("broken"), reported.count("sound")) == (2, 10)
