"""A package of somebody else adds a check and a detector, a file each; nothing of ours is touched."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest

from .test_distributions import environment, run, wheel

__all__ = ["wheel"]

LONGEST = 25
"""Lines that a check or a detector may take."""

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "their-package"
version = "1.0"

[project.entry-points."rlhf_assert.checks"]
early-loss = "their_package.early_loss"

[project.entry-points."rlhf_assert.detectors"]
third-step = "their_package.third_step:ThirdStep"
"""
CHECK = '''
"""Does the loss start low?"""

import rlhf_assert
from rlhf_assert import failed, passed, skipped


@rlhf_assert.check(name="early-loss", question="Does the loss start low?", options={"early_loss": "limit"})
def judge_early_loss(run, *, limit=1e-6):
    """Judge the first loss."""
    if "loss" not in run.series:
        return skipped("the run logged no loss")
    first = run["loss"].first
    if first > limit:
        return failed(f"loss starts at {first:.3f}, limit {limit}", metrics=["loss"])
    return passed(f"loss starts at {first:.3f}", ["loss"])
'''
DETECTOR = '''
"""Reports the third step."""

from rlhf_assert import Anomaly, Severity


class ThirdStep:
    """Reports the third step of every run, as a warning."""

    name = "third-step"

    def __init__(self):
        self.rows = 0

    def update(self, step, metrics):
        self.rows += 1
        if self.rows == 3 and "loss" in metrics:
            yield Anomaly(kind="third", metric="loss", severity=Severity.warning, onset=step, summary="is the third")
'''


@pytest.fixture(scope="module")
def theirs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with our wheel and their package; the path of its Python."""
    folder = tmp_path_factory.mktemp("theirs")
    source = folder / "source" / "their_package"
    source.mkdir(parents=True)
    (folder / "source" / "pyproject.toml").write_text(PYPROJECT)
    (source / "__init__.py").touch()
    for name, text in (("early_loss", CHECK), ("third_step", DETECTOR)):
        (source / f"{name}.py").write_text(text.lstrip())
    python = environment(folder / "env")
    install = (python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation")
    run(*install, wheel, folder / "source", cwd=folder)
    return python


def test_a_check_and_a_detector_take_a_file_each() -> None:
    assert len(CHECK.strip().splitlines()) <= LONGEST
    assert len(DETECTOR.strip().splitlines()) <= LONGEST


def test_they_are_listed(theirs: Path, tmp_path: Path) -> None:
    checks = json.loads(run(theirs, "-m", "rlhf_assert.cli", "checks", "--format", "json", cwd=tmp_path))["checks"]
    assert checks[-1]["name"] == "early-loss"
    assert checks[-1]["question"] == "Does the loss start low?"


def test_they_judge_a_log(theirs: Path, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("".join(f'{{"step": {n}, "loss": 0.{n}}}\n' for n in range(1, 9)))
    words = (theirs, "-m", "rlhf_assert.cli", "check", "log.jsonl", "--fail-on", "never", "--format", "json")
    (judged,) = json.loads(run(*words, cwd=tmp_path))["runs"]
    kinds = {finding["kind"]: finding["severity"] for finding in judged["findings"]}
    assert kinds["third"] == "warning"
    assert kinds["early-loss"] == "critical"


@pytest.mark.training
def test_they_are_in_pytest_junit_html_and_check(theirs: Path, tmp_path: Path) -> None:
    words = ("--rlhf-scenario=trl-sft", "--rlhf-steps=12", "--rlhf-out=out", "--junitxml=junit.xml", "-rf")
    printed = pytest_in(theirs, tmp_path, *words)
    assert "test_further_check[trl-sft-early-loss]" in printed
    assert "loss starts at" in printed
    assert "is the third" in printed, "the detector's warning stands beside the loss"
    properties = {node.get("name"): node.get("value") for node in ET.parse(tmp_path / "junit.xml").iter("property")}
    assert properties["rlhf.check.early-loss"].startswith("fail: loss starts at")
    (info,) = (tmp_path / "out").rglob("run.json")
    run(theirs, "-m", "rlhf_assert.cli", "report", info.parent, cwd=tmp_path)
    page = (info.parent / "report.html").read_text(encoding="utf-8")
    assert "early-loss" in page
    assert "is the third" in page
    events = [json.loads(line) for line in (info.parent / "events.jsonl").read_text().splitlines()]
    live = [event for event in events if event["event"] == "anomaly" and event["kind"] == "third"]
    assert [event["detector"] for event in live] == ["third-step"], "it was heard while the training went on"


@pytest.mark.training
def test_they_are_in_a_validation(theirs: Path, tmp_path: Path) -> None:
    words = (
        "validate",
        "--scenario=trl-sft",
        "--fault=gradient_nan",
        "--format=json",
        "--min-recall=0",
        "--max-false-alarms=1",
        "--max-delay=99",
    )
    answer = json.loads(run(theirs, "-m", "rlhf_assert.cli", *words, cwd=tmp_path))
    assert "third-step" in answer["summary"], "it is compared with ours"
    told = [finding for control in answer["controls"] for finding in control["findings"]]
    assert any(finding["check"] == "early-loss" for finding in told), "what their check finds counts as ours"


def pytest_in(python: Path, folder: Path, *words: str) -> str:
    """Run pytest, which their check makes fail, and return what it printed."""
    code = dedent(
        f"""
        import subprocess, sys
        done = subprocess.run({[str(python), "-m", "pytest", *words]!r}, capture_output=True, text=True)
        print(done.stdout, done.stderr)
        sys.exit(done.returncode != 1)
        """
    )
    return run(sys.executable, "-c", code, cwd=folder)
