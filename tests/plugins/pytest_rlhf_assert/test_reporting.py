"""What a session prints and leaves behind, on real trainings."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from rlhf_assert.facts.detected import anomalies_in
from rlhf_assert.recording.events import AnomalyFound
from rlhf_assert.recording.run import read_run

pytestmark = pytest.mark.training

PLAIN = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:randomly")


@pytest.mark.parametrize(("test", "status"), [("test_sound", 0), ("test_constant", 1), ("test_too_fast", 1)])
def test_the_exit_status_of_each_of_a_users_tests(
    pytester: pytest.Pytester, users_file: Path, test: str, status: int
) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, f"{users_file.name}::{test}")
    assert result.ret == status


def test_failures_read_like_a_diagnosis(pytester: pytest.Pytester, users_file: Path) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, "--junitxml=junit.xml", str(users_file))
    result.assert_outcomes(passed=1, failed=2)
    printed = result.stdout.str()
    # The first line is the verdict, pytest's short summary repeats that line and no more.
    result.stdout.fnmatch_lines(
        [
            "E       RewardUnreliable: reward is constant: 0.50 in all 960 completions*",
            "E         cause * reward function half returns 0.50 *",
            "E         again *pytest test_mine.py::test_constant --rlhf-seed=0",
            "E       KLAnomaly: kl runaway from step *limit 1.00",
            "E         cause * learning_rate = 1.0, *",
            "E         ruled out *",
            "FAILED test_mine.py::test_constant*RewardUnreliable: reward is c*",
            "FAILED test_mine.py::test_too_fast*KLAnomaly: kl run*",
        ]
    )
    too_wide = [line for line in printed.splitlines() if line.startswith("E       ") and len(line) > 8 + 92]
    assert not too_wide
    assert "rlhf_assert/asserts.py" not in printed, "our own frames are hidden"
    health = printed.partition("rlhf health")[2]
    assert re.search(r"^sound +PASS +30 steps, .* s, seed 0, monitor", health, re.MULTILINE)
    assert re.search(r"^ +rewards +CRIT", health, re.MULTILINE)

    cases = {case.get("name"): case for case in ET.parse(pytester.path / "junit.xml").getroot().iter("testcase")}
    properties = {entry.get("name"): entry.get("value") for entry in cases["test_too_fast[too-fast]"].iter("property")}
    assert properties["rlhf.scenario"] == "too-fast"
    assert properties["rlhf.check.kl"].startswith("fail: kl runaway from step")
    assert "->" in properties["rlhf.metric.kl"]
    (failure,) = cases["test_too_fast[too-fast]"].iter("failure")
    assert failure.get("message", "").startswith("KLAnomaly: kl runaway from step")
    assert "\n" not in failure.get("message", "")


def test_the_replay_command_repeats_bit_for_bit(pytester: pytest.Pytester, users_file: Path) -> None:
    first = pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=first", f"{users_file.name}::test_constant")
    (again,) = re.findall(r"^E +again +pytest (.*)$", first.stdout.str(), re.MULTILINE)
    pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=second", *again.split())
    runs = [read_run(next((pytester.path / folder).glob("*/*/run.json")).parent) for folder in ("first", "second")]
    rows = [[{k: v for k, v in row.metrics.items() if k != "step_time"} for row in run.rows] for run in runs]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 30


def test_workers_train_each_scenario_once(pytester: pytest.Pytester) -> None:
    two = ("--rlhf-scenario=trl-sft", "--rlhf-scenario=trl-dpo")
    result = pytester.runpytest_subprocess(*PLAIN, "-n", "2", "--rlhf-out=out", *two)
    assert result.ret == 0
    runs = [read_run(file.parent) for file in (pytester.path / "out").glob("*/*/run.json")]
    assert sorted(run.scenario for run in runs) == ["trl-dpo", "trl-sft"]
    first, second = sorted(runs, key=lambda run: run.info["started"])
    assert first.info["finished"] <= second.info["started"], "never more than one training at a time"
    health = result.stdout.str().partition("rlhf health")[2]
    assert re.search(r"^trl-sft +PASS", health, re.MULTILINE)
    assert re.search(r"^trl-dpo +PASS", health, re.MULTILINE)


def test_what_the_project_sets_holds_live_and_afterwards(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml(
        "[tool.pytest]\n[tool.rlhf-assert]\nchecks = { kl-runaway = 1e-9 }\nfalse-alarms = { warning = 0.2 }\n"
    )
    result = pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=out", "--rlhf-scenario=trl-grpo", "--rlhf-steps=8")
    (file,) = (pytester.path / "out").glob("*/*/run.json")
    run = read_run(file.parent)

    assert run.info["detection"]["detectors"] == {"kl-runaway": 1e-9}
    live = [event for event in run.events_of(AnomalyFound) if event.kind == "kl-runaway"]
    afterwards = [found for found in anomalies_in(run) if found.kind == "kl-runaway"]
    assert [event.evidence["limit"] for event in live] == [1e-9] * len(live)
    assert (live[-1].severity, live[-1].onset) == (afterwards[-1].severity.name, afterwards[-1].onset)
    result.stdout.fnmatch_lines(
        ["alarms      1 run, * checks; at most 0.2 false warnings, 0.005 criticals expected at this budget"]
    )


def test_out_keeps_every_session(pytester: pytest.Pytester) -> None:
    for _ in range(2):
        pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=out", "--rlhf-scenario=trl-sft", "--rlhf-steps=3")
    assert len(list((pytester.path / "out").glob("*/trl-sft-seed0-steps3/run.json"))) == 2


def test_github_gets_annotations_and_a_step_summary(
    pytester: pytest.Pytester, users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    result = pytester.runpytest_subprocess(*PLAIN, f"{users_file.name}::test_constant")
    assert any(line.startswith("::error") and "reward is constant" in line for line in result.outlines)
    assert "constant" in (pytester.path / "summary.md").read_text()


def test_in_process_trains_in_the_session_itself(pytester: pytest.Pytester, users_file: Path) -> None:
    users_file.write_text(
        users_file.read_text()
        + "\n\n@pytest.mark.rlhf_scenario(sound, steps=2)\ndef test_here(rlhf_run):\n"
        + "    import os\n    assert rlhf_run.info['pid'] == os.getpid()\n"
    )
    result = pytester.runpytest_subprocess(*PLAIN, "--rlhf-in-process", f"{users_file.name}::test_here")
    result.assert_outcomes(passed=1)


def test_a_scenario_without_a_trainer_is_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from rlhf_assert import scenario

        @scenario
        def forgotten(ctx): ...

        @pytest.mark.rlhf_scenario(forgotten)
        def test_it(assert_run_healthy):
            assert_run_healthy()
        """
    )
    result = pytester.runpytest_subprocess(*PLAIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*forgotten: its function returned None: return a TRL trainer*"])
    assert "Traceback" not in result.stdout.str()


def test_an_output_folder_that_cannot_be_written_is_one_line(pytester: pytest.Pytester) -> None:
    (pytester.path / "file").write_text("")
    result = pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=file", "--rlhf-scenario=trl-sft")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*file*cannot be created: Not a directory; choose another folder with --rlhf-out*"])


def test_nothing_judged_is_not_green(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        mine="""
        from rlhf_assert import scenario

        @scenario(requires=("no-such-package",))
        def impossible(ctx): ...
        """
    )
    result = pytester.runpytest_subprocess(*PLAIN, "--rlhf-scenario=mine.py", "-rs")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["*impossible needs no-such-package*pip install 'no-such-package'*"])


def test_what_cannot_be_judged_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*PLAIN, "-rs", "--rlhf-scenario=trl-sft", "-k", "kl or completes")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*sft has no reference to diverge from"])


def test_checks_are_on_disk_beside_the_run(pytester: pytest.Pytester) -> None:
    pytester.runpytest_subprocess(*PLAIN, "--rlhf-out=out", "--rlhf-scenario=trl-sft", "-k", "losses")
    (file,) = (pytester.path / "out").glob("*/*/checks.jsonl")
    (record,) = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert (record["name"], record["status"]) == ("loss", "pass")
    assert record["again"].startswith("pytest --rlhf-scenario=trl-sft -k test_losses_are_sound")
