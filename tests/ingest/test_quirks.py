"""Every quirk of logs in the wild, with a log of that shape."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlhf_assert.detect import scan
from rlhf_assert.ingest import read_log


def values(run, name):
    return run.series[name].values.tolist()


def test_numbers_written_as_strings_are_numbers(read):
    run = read(
        "{'loss': '0', 'grad_norm': '0.5', 'epoch': '0.1'}\n{'loss': '1e-3', 'grad_norm': '2', 'epoch': '0.2'}\n"
    )
    assert (values(run, "loss"), values(run, "grad_norm")) == ([0.0, 0.001], [0.5, 2.0])


def test_null_is_a_finding_and_not_an_absent_value(read):
    run = read([{"step": step, "loss": 0.0, "reward": None if step > 2 else 0.5} for step in range(1, 6)])
    assert [row.metrics["reward"] for row in run.rows] == [0.5, 0.5, None, None, None]
    assert np.isnan(run.series["reward"].values[2:]).all()
    assert [(found.kind, found.onset) for found in scan(run) if found.metric == "reward"] == [("non-finite", 3)]


def test_null_in_a_table_that_was_written_out_means_an_empty_cell(read):
    rows = [{"step": s, "loss": 0.5, "eval_loss": None, "reward": 1.0} for s in range(1, 4)]
    rows.append({"step": 3, "loss": None, "eval_loss": 0.4, "reward": None})
    run = read(rows)
    assert values(run, "loss") == [0.5, 0.5, 0.5]
    assert all(None not in row.metrics.values() for row in run.rows)


@pytest.mark.parametrize("token", ["NaN", "nan", "Infinity", "-Infinity", "inf", "-inf", "+inf"])
def test_bare_non_finite_tokens_in_json(read, token):
    run = read(f'{{"step": 1, "loss": 1.0, "note": "nan inf"}}\n{{"step": 2, "loss": {token}, "note": "x: nan"}}\n')
    found = values(run, "loss")
    expected = float(token.lower().replace("infinity", "inf"))
    assert found[0] == 1.0
    assert math.isnan(found[1]) if math.isnan(expected) else found[1] == expected


def test_bare_nan_in_an_openrlhf_console(read):
    run = read(
        "INFO something: else\n(PPOTrainer pid=1) Global step 7: {'policy_loss': 0.1, 'reward': nan, 'kl': -inf}\n"
        "Global step 8: {'policy_loss': 0.2, 'reward': 0.5, 'kl': 0.01}\n"
    )
    assert run.series["reward"].steps.tolist() == [7, 8]
    assert math.isnan(values(run, "reward")[0])
    assert values(run, "kl_div") == [-math.inf, 0.01]


def test_without_a_step_rows_are_counted(read):
    run = read("{'loss': 0.5, 'epoch': 0.1}\n{'eval_loss': 0.4, 'epoch': 0.1}\n{'loss': 0.4, 'epoch': 0.2}\n")
    assert run.info["step_key"] == ""
    assert run.series["loss"].steps.tolist() == [1, 2]
    assert run.original["eval_loss"].steps.tolist() == [1]
    assert [row.epoch for row in run.rows] == [0.1, 0.2]


def test_a_validation_only_step_0_is_no_row_of_the_training(read):
    rows = [{"step": 0, "val-core/gsm8k/acc/mean@1": 0.1}]
    rows += [{"step": s, "critic/rewards/mean": 0.1 * s, "actor/ppo_kl": 0.0} for s in range(1, 4)]
    run = read(rows)
    assert [row.step for row in run.rows] == [1, 2, 3]
    assert run.original["val-core/gsm8k/acc/mean@1"].steps.tolist() == [0]


def test_a_header_record_before_the_rows_is_passed_over(read):
    run = read([{"model": "tiny", "lr_max": 1e-3}, {"step": 10, "loss": 1.0}, {"step": 20, "loss": 0.5}])
    assert run.series["loss"].steps.tolist() == [10, 20]


def test_sft_and_grpo_in_one_file_are_two_runs(tmp_path, read):
    lines = [{"loss": 1.0, "epoch": e / 10, "step": e, "mean_token_accuracy": 0.5} for e in range(1, 11)]
    lines += [{"reward": 0.1, "reward_std": 0.2, "kl": 0.0, "completion_length": 9, "epoch": e / 10, "step": e}
              for e in range(1, 6)]  # fmt: skip
    with pytest.raises(ValueError, match="too many"):
        read(lines)
    first, second = read_log(tmp_path / "log.txt")
    assert (first.info["algorithm"], second.info["algorithm"]) == ("sft", "grpo")
    assert (len(first.rows), len(second.rows)) == (10, 5)
    assert second.series["kl_div"].steps.tolist() == [1, 2, 3, 4, 5]
    assert "reward" not in first.series


def test_a_resume_goes_back_and_stays_one_run(read):
    run = read([{"step": s, "loss": 0.1, "reward": 0.5} for s in (1, 2, 3, 4, 3, 4, 5)])
    assert run.series["loss"].steps.tolist() == [1, 2, 3, 4, 3, 4, 5]
    assert run.extent == (1, 5)


def test_a_step_in_several_pieces_is_one_row_and_micro_batches_are_several(read):
    pieces = read([{"step": 1, "loss": 0.1}, {"step": 1, "reward": 0.5}, {"step": 1, "eval_loss": 1.0}])
    assert [dict(row.metrics) for row in pieces.rows] == [{"loss": 0.1, "reward": 0.5}]
    batches = read([{"step": 1, "loss": 0.1}, {"step": 1, "loss": 0.2}, {"step": 2, "loss": 0.3}])
    assert batches.series["loss"].steps.tolist() == [1, 1, 2]


def test_the_final_summary_is_no_step(read):
    run = read(
        [{"step": 1, "loss": 0.3}, {"step": 2, "loss": 0.2}, {"step": 2, "train_runtime": 9.0, "train_loss": 0.25}]
    )
    assert values(run, "loss") == [0.3, 0.2]
    assert "train_loss" not in run.original


def test_text_fields_are_no_metrics(read):
    run = read([{"step": s, "loss": 0.1, "time": "2025-01-01T00:00:00", "name": "x", "list": [1], "kl": "<absent>"}
                for s in (1, 2)])  # fmt: skip
    assert list(run.series) == ["loss"]
    assert run.unmapped == ()
    assert set(run.info["words"]) == {"time", "name", "list", "kl"}


def test_spaced_and_capitalised_keys(read):
    run = read("Step,Training Loss,rewards / chosen,Completions / clipped_ratio\n10,0.69,0.0,0.1\n20,0.5,0.2,0.2\n")
    assert values(run, "loss") == [0.69, 0.5]
    assert values(run, "chosen_reward") == [0.0, 0.2]
    assert values(run, "truncated_fraction") == [0.1, 0.2]
    assert run.series["loss"].steps.tolist() == [10, 20]


def test_values_rounded_to_zero_are_kept_as_they_are(read):
    run = read([{"step": s, "loss": 0.0, "kl": 0.0001 * s, "reward": 0.1 * s} for s in range(1, 31)])
    assert values(run, "loss") == [0.0] * 30
    assert "kl_policy_ratio" not in run.series  # a quotient with a loss of 0 is none


def test_keys_on_a_quarter_of_the_rows(read):
    run = read([{"step": s, "loss": 0.1 * s, **({"reward": 0.5} if s % 4 == 0 else {})} for s in range(1, 13)])
    assert run.series["reward"].steps.tolist() == [4, 8, 12]
    assert ["reward" in row.metrics for row in run.rows[2:5]] == [False, True, False]


def test_nested_records_are_flattened(read):
    run = read([{"step": s, "data": {"actor/ppo_kl": 0.1, "critic": {"vf_loss": 0.5}}} for s in (1, 2)])
    assert set(run.series) == {"approx_kl", "value_loss"}


def test_numbers_that_console_output_wraps(read):
    run = read("{'loss': np.float64(0.5), 'grad_norm': tensor(2.0, device='cuda:0'), 'epoch': 1.0}\n" * 2)
    assert (values(run, "loss"), values(run, "grad_norm")) == ([0.5, 0.5], [2.0, 2.0])


def test_a_progress_bar_in_front_of_the_metrics(read):
    run = read(
        " 10%|#   | 1/10 [00:01<00:09]\r{'loss': 0.5, 'epoch': 0.1}\n 20%|##  | 2/10 {'loss': 0.4, 'epoch': 0.2}\n"
    )
    assert values(run, "loss") == [0.5, 0.4]
