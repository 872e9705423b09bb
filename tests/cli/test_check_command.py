"""`rlhf-assert check` and `demo` on logs that other programs wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from rlhf_assert.cli import main
from rlhf_assert.cli.demo_command import DEMOS
from rlhf_assert.judging import pool


def call(*arguments, **environment):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def healthy(steps=80):
    for step in range(1, steps + 1):
        wobble = ((step * 7919) % 13 - 6) / 60
        yield {
            "step": step,
            "loss": 0.01 * wobble,
            "grad_norm": 0.5 + wobble,
            "reward": 0.2 + 0.005 * step + wobble,
            "reward_std": 0.2 + 0.1 * wobble,
            "kl": 0.0 if step == 1 else 0.0005 * step * (1.0 + wobble),
            "entropy": 2.0 - 0.002 * step + 0.1 * wobble,
            "completions/clipped_ratio": 0.0,
        }


@pytest.fixture
def write(tmp_path):
    def write_log(name, records):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write_log


@pytest.fixture
def sound(write):
    return write("good.jsonl", healthy())


@pytest.fixture
def sick(write):
    rows = list(healthy())
    for row in rows[40:]:
        row["reward"] = float("nan")
    return write("sick.jsonl", rows)


def test_a_sound_log_passes_and_says_what_was_not_judged(sound):
    result = call("check", sound)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0] == f"{sound}   GRPO, judged by its keys; 80 rows, steps 1 to 80, 8 metrics"
    assert any(line.startswith("passed ") and " kl " in f"{line} " for line in lines)
    assert "completion: a log does not tell how its training ended" in result.output
    assert "per sample: a log holds means only" in result.output
    assert lines[-1] == "exit 0   (1 of 1 judged; --fail-on=critical)"


def test_a_sick_log_shows_the_curve_and_the_last_good_step(tmp_path, sick):
    for step in (30, 60):
        (tmp_path / f"checkpoint-{step}").mkdir()
    state = tmp_path / "checkpoint-60" / "trainer_state.json"
    state.write_text(json.dumps({"log_history": [json.loads(line) for line in sick.read_text().splitlines()]}))
    result = call("check", state)
    assert result.exit_code == 1
    assert "!!!!" in result.output
    assert "Last good step 40, nearest checkpoint 30." in result.output
    assert result.output.splitlines()[-1].startswith("exit 1   (")


def test_bad_input_as_it_was_designed(tmp_path, sound, write, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("")
    write("typo.jsonl", [{"step": 1, "los": 0.5}, {"step": 2, "los": 0.4}])
    (tmp_path / "run.bin").write_bytes(b"x\x8a\x00")
    result = call("check", "empty.jsonl", "typo.jsonl", "run.bin", "nofile.jsonl", "good.jsonl")
    assert result.exit_code == 2
    expected = """
        empty.jsonl unreadable no rows
        typo.jsonl not judged 2 rows, no metric known to rlhf-assert; keys: step, los (did you mean loss?)
        run.bin unreadable not text: byte 0x8a at offset 1
        nofile.jsonl unreadable no such file or folder; near: typo.jsonl, good.jsonl
        good.jsonl PASS 80 rows, 5 checks passed, 7 not judged
        alarms 1 run, 5 checks; at most 0.05 false warnings, 0.005 criticals expected at this budget
        exit 2 (1 of 5 judged; --allow-unjudged to pass on what was judged)
    """
    assert result.output.split() == expected.split()


def test_a_misspelt_key_beside_others_is_told(write):
    rows = [{("entrpy" if key == "entropy" else key): value for key, value in row.items()} for row in healthy()]
    assert "entrpy (did you mean entropy?)" in call("check", write("typo.jsonl", rows)).output


def test_keys_with_line_breaks_or_without_end_stay_on_one_line(write):
    result = call("check", write("odd.jsonl", [{"\n\x1b[2J": 1.0, "k" * 5000: 2.0}]))
    assert len(result.output.splitlines()) == 2
    assert len(result.output) < 500


def test_one_row_is_too_little_to_judge(write):
    result = call("check", write("one.jsonl", [{"step": 1, "loss": 0.5, "kl": 0.0}]))
    assert result.exit_code == 2
    assert call("check", write("one.jsonl", [{"step": 1, "loss": 0.5}]), "--allow-unjudged").exit_code == 0


def test_json_is_the_contract(sick, write):
    typo = write("typo.jsonl", [{"step": 1, "los": 0.5}])
    result = call("check", "--format=json", sick, typo, sick.parent / "none")
    runs = json.loads(result.stdout)["runs"]
    keys = {"source", "steps", "metrics", "unmapped", "findings", "skipped", "error"}
    assert [set(run) for run in runs] == [keys, keys, keys]
    assert [run["source"] for run in runs] == [str(sick), str(typo), str(sick.parent / "none")]
    assert any(one["metric"] == "reward" and one["severity"] == "critical" for one in runs[0]["findings"])
    assert {"check", "reason"} == set(runs[0]["skipped"][0])
    assert runs[1]["unmapped"] == ["los"]
    assert "did you mean loss?" in runs[1]["skipped"][0]["reason"]
    assert runs[2]["error"] == "no such file or folder"
    assert result.stderr.startswith("exit 1")


def test_what_the_detectors_find_is_told_with_its_onset(sick, write):
    from rlhf_assert.detect import Severity, scan
    from rlhf_assert.ingest import read_log

    stuck = [{**row, "reward": 1.0, "reward_std": 0.0, "grad_norm": 0.0} for row in healthy()]
    for path in (sick, write("stuck.jsonl", stuck)):
        (run,) = read_log(path)
        found = {(one.kind, one.metric, one.onset) for one in scan(run) if one.severity > Severity.info}
        entry = json.loads(call("check", "--format=json", path).stdout)["runs"][0]
        assert found
        assert found <= {(one["kind"], one["metric"], one["onset"]) for one in entry["findings"]}


def test_github_annotates_the_file(sick, tmp_path):
    summary = tmp_path / "summary.md"
    result = call("check", "--format=github", sick, tmp_path / "none", GITHUB_STEP_SUMMARY=str(summary))
    assert "::error file=" in result.output
    assert "::error title=unreadable::" in result.output
    assert "| FAIL | sick.jsonl |" in summary.read_text()


def test_a_folder_stands_for_its_logs(sound, sick, write):
    write("deeper/other.jsonl", healthy())
    runs = json.loads(call("check", "--format=json", sound.parent).stdout)["runs"]
    assert [os.path.relpath(run["source"], sound.parent) for run in runs] == [
        "deeper/other.jsonl", "good.jsonl", "sick.jsonl",
    ]  # fmt: skip


def test_two_phases_have_an_entry_each(write):
    sft = [
        {"step": s, "loss": 1.0 / s, "mean_token_accuracy": 0.5, "grad_norm": 1.0 + 0.1 * (s % 3)} for s in range(1, 41)
    ]
    path = write("both.jsonl", [*sft, *healthy()])
    runs = json.loads(call("check", "--format=json", path).stdout)["runs"]
    assert [run["source"] for run in runs] == [str(path), f"{path}#2"]
    assert "phase 2 of 2" not in call("check", path, path).output


def test_processes_answer_as_one_process_does(write, sick, monkeypatch):
    paths = [write(f"log{index}.jsonl", healthy(40 + index)) for index in range(6)] + [sick, sick.parent / "none"]
    for output in ("text", "json", "github"):
        alone = call("check", f"--format={output}", *paths)
        monkeypatch.setattr(pool, "WORTH_FILES", 2)
        monkeypatch.setattr(pool, "usable_cores", lambda: 2)
        together = call("check", f"--format={output}", *paths)
        monkeypatch.undo()
        assert (together.exit_code, together.output) == (alone.exit_code, alone.output)


def test_a_defect_of_ours_does_not_hide_the_other_logs(sound, sick, monkeypatch):
    from rlhf_assert.judging import answers

    judge = answers.judge
    monkeypatch.setattr(answers, "judge", lambda run: judge(run) if run.path == sound else 1 / 0)
    result = call("check", sick, sound)
    assert "a defect of rlhf-assert, please report it: ZeroDivisionError" in " ".join(result.output.split())
    assert (result.exit_code, "1 of 2 judged" in result.output) == (2, True)


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_is_the_same_every_time_and_says_that_it_is_synthetic(name):
    first = call("demo", name)
    assert first.exit_code == 0
    assert first.output == call("demo", name).output
    assert "(synthetic curves)" in first.output
    assert (f"check ends with exit {0 if name == 'healthy' else 1}:") in first.output


def test_an_unknown_demo_is_a_usage_error_with_a_suggestion():
    result = call("demo", "kl-runaaway")
    assert (result.exit_code, "did you mean kl-runaway?" in result.output) == (2, True)


def test_check_and_demo_import_nothing_heavy(sound):
    code = (
        "import sys; from click.testing import CliRunner; from rlhf_assert.cli import main\n"
        f"for line in (['demo'], ['check', {str(sound)!r}]): CliRunner().invoke(main, line)\n"
        "print(sorted({'torch', 'scipy', 'pytest', 'tensorboard', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
