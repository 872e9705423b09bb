from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from rlhf_assert import __version__
from rlhf_assert.cli import main


def call(*arguments, **environment):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


@pytest.fixture
def sound(make_run, rows):
    return make_run(rows, scenario="sound").path


@pytest.fixture
def sick(make_run, rows):
    for row in rows[20:]:
        row["reward"] = float("nan")
    return make_run(rows, scenario="sick").path


def test_a_sound_run_exits_0_and_says_so_last(sound):
    result = call("check", sound)
    assert result.exit_code == 0
    assert result.output.splitlines()[-1] == "exit 0   (1 of 1 judged; --fail-on=critical)"
    assert "0 critical, 0 warnings" in result.output


def test_a_sick_run_exits_1_with_its_diagnosis(sick):
    result = call("check", sick)
    assert result.exit_code == 1
    assert "not finite" in result.output
    assert "CRIT  " in result.output
    assert result.output.splitlines()[-1].startswith("exit 1   (")
    assert max(map(len, result.output.splitlines())) <= 130  # the path and 100 columns


def test_fail_on_never_reports_and_passes(sick):
    result = call("check", "--fail-on=never", sick)
    assert (result.exit_code, "CRIT" in result.output) == (0, True)


def test_every_path_has_its_entry(sound, sick, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    wrong = [tmp_path / name for name in ("empty.jsonl", "folder", "rum1", "nowhere/x")]
    result = call("check", *wrong, sound, sound / "run.json")
    lines = {line.split()[0]: line for line in reversed(result.output.splitlines()) if line}
    assert result.exit_code == 2
    assert "unreadable   no rows" in lines[str(wrong[0])]
    assert "no log in this folder" in lines[str(wrong[1])]
    assert "no such file or folder; near: run1" in result.output
    assert "nor its folder" in result.output
    assert "PASS" in lines[str(sound)]
    assert "name the directory" in result.output
    assert result.output.splitlines()[-1] == "exit 2   (1 of 6 judged; --allow-unjudged to pass on what was judged)"
    assert call("check", "--allow-unjudged", *wrong, sound).exit_code == 0
    assert call("check", "--allow-unjudged", *wrong, sick).exit_code == 1


def test_a_run_of_a_newer_format_and_a_damaged_one_are_unreadable(sound):
    info = json.loads((sound / "run.json").read_text())
    for content in (json.dumps({**info, "format": 99}), "{", "[]", json.dumps({**info, "started": "x"})):
        (sound / "run.json").write_text(content)
        result = call("check", sound)
        assert result.exit_code == 2
        assert "unreadable" in result.output


def test_an_empty_run_is_not_green(make_run):
    assert call("check", make_run([]).path).exit_code in (1, 2)


def test_json_is_the_contract(sick, tmp_path):
    result = call("check", "--format=json", sick, tmp_path / "none")
    runs = json.loads(result.stdout)["runs"]
    keys = {"source", "steps", "metrics", "unmapped", "findings", "skipped", "error"}
    assert [set(run) for run in runs] == [keys, keys]
    assert (runs[0]["source"], runs[0]["steps"], runs[0]["error"]) == (str(sick), 40, None)
    assert {"kind", "metric", "severity", "onset", "evidence", "remedy"} == set(runs[0]["findings"][0])
    assert any(one["metric"] == "reward" and one["severity"] == "critical" for one in runs[0]["findings"])
    assert {"check", "reason"} == set(runs[0]["skipped"][0])
    assert runs[1]["error"] == "no such file or folder"
    assert result.stderr.startswith("exit 1")


def test_github_annotates_and_appends_the_summary(sick, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    result = call("check", "--format=github", sick, tmp_path / "none", GITHUB_STEP_SUMMARY=str(summary))
    assert "::error title=sick%3A rewards::" in result.output
    assert "::error title=unreadable::" in result.output
    assert summary.read_text().startswith("before\n### rlhf health\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("chekc",), "did you mean check?"),
        (("check",), "Missing argument"),
        (("check", "--fail-on=fatal", "x"), "'fatal' is not one of"),
        (("check", "--fial-on=never", "x"), "--fail-on"),
        (("rewards", "RUN", "--allow", "lenght"), "did you mean length?"),
    ],
)
def test_usage_errors_exit_2_with_a_suggestion(arguments, told, sound):
    result = call(*(sound if argument == "RUN" else argument for argument in arguments))
    assert result.exit_code == 2
    assert told in result.output


def test_version():
    assert call("--version").output == f"rlhf-assert, version {__version__}\n"


def test_checkpoint(tmp_path):
    noise = np.random.default_rng(0)
    for name, spoilt in (("good", False), ("bad", True)):
        weights = noise.normal(0.0, 0.05, (64, 64)).astype(np.float32)
        if spoilt:
            weights[3, 4] = np.nan
        (tmp_path / name).mkdir()
        save_file({"layers.0.weight": weights}, tmp_path / name / "model.safetensors")
    good = call("checkpoint", tmp_path / "good")
    assert (good.exit_code, "score 1.00" in good.output) == (0, True)
    bad = call("checkpoint", tmp_path / "bad", "--reference", tmp_path / "good")
    assert bad.exit_code == 1
    assert "score 0.00" in bad.output
    assert "non-finite-weight" in bad.output
    answer = json.loads(call("checkpoint", "--format=json", tmp_path / "bad").stdout)
    assert (answer["score"], answer["issues"][0]["severity"]) == (0.0, "critical")
    drifted = tmp_path / "drifted"
    drifted.mkdir()
    save_file({"layers.0.weight": noise.normal(0.0, 0.2, (64, 64)).astype(np.float32)}, drifted / "model.safetensors")
    moved = call("checkpoint", drifted, "--reference", tmp_path / "good")
    assert (moved.exit_code, "--max-drift=1)" in moved.output) == (1, True)
    assert call("checkpoint", drifted, "--reference", tmp_path / "good", "--max-drift=9").exit_code == 0
    missing = call("checkpoint", tmp_path / "good", "--reference", tmp_path / "god")
    assert (missing.exit_code, "near: good" in missing.output) == (2, True)


def scored(by_length):
    noise = np.random.default_rng(0)
    for step in range(1, 41):
        for prompt in range(4):
            for _ in range(4):
                length = int(noise.integers(4, 10) + step / 2 * by_length)
                reward = 0.05 * length if by_length else 0.2 + 0.005 * step + noise.normal(0.0, 0.1)
                yield {
                    "step": step,
                    "prompt": f"p{prompt}",
                    "length": length,
                    "reward": reward,
                    "text": f"{noise.random()}",
                }


@pytest.mark.parametrize(("by_length", "code"), [(False, 0), (True, 1)])
def test_rewards_of_a_run_and_of_a_file_agree(make_run, tmp_path, by_length, code):
    run = make_run([], samples=scored(by_length))
    copy = tmp_path / "scored.jsonl"
    copy.write_bytes((run.path / "samples.jsonl").read_bytes())
    for path in (run.path, run.path / "samples.jsonl", copy):
        result = call("rewards", path)
        assert result.exit_code == code, result.output
        assert ("follows length" in result.output) is by_length
    answer = json.loads(call("rewards", "--format=json", copy).stdout)
    assert answer["reliability"]["samples"] == 640
    assert answer["status"] == ("fail" if by_length else "pass")


@pytest.mark.parametrize("content", ["", "no json\n", '{"step": 1, "score": 2}\n'])
def test_rewards_of_something_else_are_unreadable(tmp_path, content):
    (tmp_path / "x.jsonl").write_text(content)
    result = call("rewards", tmp_path / "x.jsonl")
    assert (result.exit_code, "unreadable" in result.output) == (2, True)


def test_report_writes_a_page(sound, tmp_path):
    out = tmp_path / "page.html"
    assert call("report", sound, "--out", out).exit_code == 0
    assert out.read_text().startswith("<!doctype html>")
    assert call("report", sound).exit_code == 0
    assert (sound / "report.html").is_file()
    assert call("report", tmp_path / "none").exit_code == 2
    assert call("report", sound, "--out", tmp_path / "no" / "page.html").exit_code == 2


def test_scenarios_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from rlhf_assert import scenario\n@scenario(backend='nowhere', steps=7)\ndef my_own(ctx): ...\n")
    result = call("scenarios", file)
    assert result.exit_code == 0
    assert "my-own" in result.output
    assert "unknown backend nowhere" in result.output
    assert call("scenarios", tmp_path / "none.py").exit_code == 2


def test_output_in_a_pipe_has_no_colour_and_ascii_where_the_encoding_asks_for_it(sick):
    command = [sys.executable, "-m", "rlhf_assert.cli", "check", str(sick)]
    result = subprocess.run(
        command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}, check=False
    )
    assert result.returncode == 1
    assert b"\x1b" not in result.stdout
    assert b"->" in result.stdout


def test_start_up_imports_nothing_heavy():
    code = (
        "import sys; from click.testing import CliRunner; from rlhf_assert.cli import main\n"
        "for line in (['--help'], ['--version'], ['scenarios', 'none.py']): CliRunner().invoke(main, line)\n"
        "print(sorted({'numpy', 'torch', 'scipy', 'pytest'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
