"""Every detector is known by its spec: our own, those of installed packages, and decorated ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import rlhf_assert
from rlhf_assert import DetectorSpec, judge
from rlhf_assert.checked import Status
from rlhf_assert.detect import Anomaly, DetectorContext, Severity, default_detectors, detector_registry
from rlhf_assert.detect.detector_registry import BUILT_IN, MODULES, forget_detector, installed_detectors
from rlhf_assert.detect.foreign import kebab_case
from rlhf_assert.detect.monitor import Monitor
from rlhf_assert.detect.settings import Settings, settings_of
from rlhf_assert.errors import UnreadableRun, UsageError
from rlhf_assert.facts.detected import anomalies_in, failed_detectors
from rlhf_assert.recording.run import Run

MakeRun = Callable[..., Run]


class TooLong:
    """Reports completions of more than `threshold` tokens."""

    name = "too-long"
    knob = "tokens"

    def __init__(self, threshold: float = 8.5) -> None:
        self.threshold = threshold
        self._done = False

    def update(self, step: int, metrics: Any) -> Iterator[Anomaly]:
        if not self._done and (metrics.get("response_length") or 0.0) > self.threshold:
            self._done = True
            yield Anomaly(
                kind="too-long",
                metric="response_length",
                severity=Severity.critical,
                onset=step,
                summary=f"above {self.threshold} at step {step}",
            )


class Unmakeable:
    name = "unmakeable"

    def __init__(self) -> None:
        raise ZeroDivisionError("in the making")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs entry points, NAME="module:attribute"; they are gone after the test."""

    def entries(**offered: str) -> None:
        points = [EntryPoint(name.replace("_", "-"), value, "rlhf_assert.detectors") for name, value in offered.items()]
        monkeypatch.setattr(detector_registry, "entry_points", lambda group: points)
        installed_detectors.cache_clear()

    yield entries
    monkeypatch.undo()
    installed_detectors.cache_clear()


@pytest.fixture
def decorated() -> Iterator[list[str]]:
    """A list for the names of what the test decorates; they are forgotten after it."""
    names: list[str] = []
    yield names
    for name in names:
        forget_detector(name)


def test_every_module_of_ours_has_its_spec_and_is_named_after_its_detector() -> None:
    folder = Path(rlhf_assert.__file__).parent / "detect" / "detectors"
    assert sorted(MODULES) == sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    for module in MODULES:
        spec = importlib.import_module(f"rlhf_assert.detect.detectors.{module}").SPEC
        name = "entropy" if module == "entropy_collapse" else module.replace("_", "-")  # a check has that file's name
        assert (spec.name, spec.make(DetectorContext()).name) == (name, name)
        assert BUILT_IN[name] is spec


def test_the_documents_name_every_detector() -> None:
    table = (Path(__file__).parents[2] / "docs" / "detectors.md").read_text()
    listed = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(name for name in listed if name in BUILT_IN) == sorted(BUILT_IN)
    for name, spec in BUILT_IN.items():
        assert not spec.knob or f"`{name}` ({spec.knob})" in table, name


def test_no_two_modules_of_the_library_have_one_name() -> None:
    root = Path(rlhf_assert.__file__).parent
    stems = [path.stem for path in root.rglob("*.py") if path.stem not in {"__init__", "__main__"}]
    assert sorted(stems) == sorted(set(stems))


def test_an_installed_detector_judges_everywhere_under_its_own_name(
    install: Any, make_run: MakeRun, rows: list[dict[str, Any]]
) -> None:
    install(long_answers=f"{__name__}:TooLong")
    assert "long-answers" in [detector.name for detector in default_detectors()]

    monitor = Monitor()
    live = [
        anomaly
        for step, row in enumerate(rows, 1)
        for anomaly in monitor.update(step, {"response_length": row["completions/mean_length"]})
    ]
    assert [(anomaly.kind, anomaly.detector) for anomaly in live] == [("too-long", "long-answers")]

    run = make_run(rows)
    (anomaly,) = [found for found in anomalies_in(run) if found.detector == "long-answers"]
    assert anomaly == live[0]
    (failed,) = judge(run).failures
    assert failed.anomalies == (anomaly,)


def test_an_installed_detector_is_set_like_ours(install: Any, make_run: MakeRun, rows: list[dict[str, Any]]) -> None:
    install(long_answers=f"{__name__}:TooLong")
    for value in (False, 1000.0):
        run = make_run(rows, detection=Settings(detectors={"long-answers": value}).table())
        assert [found for found in anomalies_in(run) if found.kind == "too-long"] == []
    run = make_run(rows, detection=Settings(detectors={"long-answers": 5}).table())
    assert [found.summary for found in anomalies_in(run)] == ["above 5.0 at step 1"]
    with pytest.raises(UsageError, match="did you mean long-answers"):
        Settings(detectors={"long-answer": False})


@pytest.mark.parametrize(
    "offered",
    ["TooLong", "SPEC", "make_plain", "make_by_context", "make_by_position", "make_several"],
)
def test_what_a_package_may_offer(install: Any, offered: str) -> None:
    install(mine=f"{__name__}:{offered}")
    (detector,) = [one for one in default_detectors("grpo", settings=Settings()) if one.name == "mine"]
    assert [found.kind for found in detector.update(1, {"response_length": 9.0})][:1] == ["too-long"]


SPEC = DetectorSpec("of-my-own", lambda context: TooLong(context.threshold or 8.5), knob="tokens")


def make_plain() -> TooLong:
    return TooLong()


def make_by_context(*, context: DetectorContext) -> TooLong:
    assert context.algorithm == "grpo"
    return TooLong()


def make_by_position(about: DetectorContext) -> TooLong:
    assert about.algorithm == "grpo"
    return TooLong()


def make_several() -> list[TooLong]:
    return [TooLong(), TooLong(2.0)]


def make_nothing() -> int:
    return 3


@pytest.mark.parametrize(
    ("offered", "error"),
    [
        (f"{__name__}:Unmakeable", "ZeroDivisionError: in the making"),
        (f"{__name__}:make_nothing", "UsageError: it returned 3: a detector has a name and update"),
        (f"{__name__}:absent", "AttributeError: "),
        ("no_such_module_anywhere:X", "ModuleNotFoundError: "),
    ],
)
def test_a_detector_that_cannot_be_made_is_named_and_costs_nothing(
    install: Any, make_run: MakeRun, rows: list[dict[str, Any]], offered: str, error: str
) -> None:
    healthy = judge(make_run(rows))
    install(mine=offered)
    run = make_run(rows)
    assert failed_detectors(run)["mine"].startswith(error)
    verdict = judge(run)
    *others, told = verdict.checks
    assert [(check.name, check.status) for check in others] == [(one.name, one.status) for one in healthy.checks]
    assert (told.name, told.status) == ("detectors", Status.ERROR)
    assert told.headline.startswith(f"failed to judge: mine ({error}")


def test_a_package_does_not_replace_a_detector_of_ours(install: Any, make_run: MakeRun, rows: list[Any]) -> None:
    install(**{"kl-runaway": f"{__name__}:TooLong"})
    assert failed_detectors(make_run(rows)) == {
        "package:kl-runaway": "UsageError: the name kl-runaway is taken: rename the entry point"
    }


def test_a_decorated_detector_judges_like_an_installed_one(
    decorated: list[str], make_run: MakeRun, rows: list[dict[str, Any]]
) -> None:
    decorated += ["too-long", "longer", "no-answer"]

    rlhf_assert.detector(TooLong)

    @rlhf_assert.detector(name="longer", knob="tokens", on_by_default=False)
    def make(threshold: float = 1e9) -> TooLong:
        return TooLong(threshold)

    @rlhf_assert.detector
    class NoAnswer:
        def __init__(self) -> None:
            self.name = "no-answer"

        def update(self, step: int, metrics: Any) -> list[Anomaly]:
            return []

    names = [detector.name for detector in default_detectors()]
    assert [name for name in names if name in decorated] == ["too-long", "no-answer"]
    longer = Settings(detectors={"longer": 5, "too-long": False}).table()
    run = make_run(rows, detection=longer)
    assert [(found.detector, found.summary) for found in anomalies_in(run)] == [("longer", "above 5.0 at step 1")]
    with pytest.raises(UsageError, match="two detectors are called kl-runaway"):
        rlhf_assert.detector(name="kl-runaway")(TooLong)
    with pytest.raises(UsageError, match="two detectors are called too-long"):
        rlhf_assert.detector(name="too-long")(make_plain)
    rlhf_assert.detector(TooLong)  # the same module, imported again


def test_a_run_that_was_trained_with_others_detectors_is_judged_without_them(
    install: Any, decorated: list[str], make_run: MakeRun, rows: list[dict[str, Any]]
) -> None:
    install(long_answers=f"{__name__}:TooLong")
    table = Settings(detectors={"long-answers": 5, "frozen": False}).table()
    install()
    run = make_run(rows, detection=table)
    assert settings_of(run.info).detectors == {"long-answers": 5, "frozen": False}
    assert failed_detectors(run) == {"long-answers": "UsageError: no installed package offers it here"}
    assert settings_of({"detection": settings_of(run.info).table()}) == settings_of(run.info)
    del table["added-detectors"]
    with pytest.raises(UnreadableRun, match="unknown detector 'long-answers'"):
        settings_of({"detection": table})


def test_names_in_kebab_case() -> None:
    assert [kebab_case(name) for name in ("NoLongAnswers", "no_long_answers", "KLTooHigh")] == [
        "no-long-answers",
        "no-long-answers",
        "kl-too-high",
    ]
