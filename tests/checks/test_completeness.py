from __future__ import annotations

from rlhf_assert.checked import Status
from rlhf_assert.checks.completeness import judge_promised_metric, judge_promised_metrics


def test_all_promised_metrics_logged(make_run, rows):
    check = judge_promised_metrics(make_run(rows, promised=["kl_div", "reward"]))
    assert check.status is Status.PASS


def test_null_counts_as_logged(make_run, rows):
    for row in rows:
        row["reward"] = None
    assert judge_promised_metrics(make_run(rows, promised=["reward"])).status is Status.PASS


def test_missing_metric_fails_and_is_named(make_run, rows):
    check = judge_promised_metrics(make_run(rows, promised=["kl_div", "clip_ratio", "value_loss"]))
    assert check.status is Status.FAIL
    assert check.headline == "2 promised metrics not logged: clip_ratio, value_loss"


def test_a_key_that_looks_like_it_is_pointed_out(make_run, rows):
    for row in rows:
        row["clipratio"] = 0.1
    check = judge_promised_metrics(make_run(rows, promised=["clip_ratio"]))
    assert "clip_ratio (did you mean clipratio?)" in check.evidence


def test_one_check_per_metric(make_run, rows):
    run = make_run(rows, promised=["kl_div", "clip_ratio"])
    checks = [judge_promised_metric(run, metric) for metric in run.promised]
    assert [(check.name, check.status) for check in checks] == [
        ("completeness[kl_div]", Status.PASS),
        ("completeness[clip_ratio]", Status.FAIL),
    ]


def test_nothing_promised_is_not_judged(make_run, rows):
    assert judge_promised_metrics(make_run(rows)).status is Status.SKIPPED


def test_a_run_without_rows_fails_whatever_it_promised(make_run):
    check = judge_promised_metrics(make_run([]))
    assert (check.status, check.headline) == (Status.FAIL, "the run logged nothing: it ended completed without a row")
