from __future__ import annotations

from rlhf_assert.checked import Status
from rlhf_assert.checks.data import judge_data

CONFIG = {"dataset_rows": 64, "per_device_train_batch_size": 8}


def batches(digests):
    return [("batch", step, {"digest": str(digest)}) for step, digest in enumerate(digests, start=1)]


def judged(make_run, digests, **config):
    return judge_data(make_run(events=batches(digests), config={**CONFIG, **config}))


def test_fresh_batches_pass(make_run):
    assert judged(make_run, range(20)).status is Status.PASS


def test_one_batch_again_and_again(make_run):
    check = judged(make_run, [*range(9), *[9] * 8])
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 11)
    assert "every 1 step the same batch" in check.headline


def test_a_short_cycle(make_run):
    assert judged(make_run, [*range(9), *[9, 10, 11] * 4]).anomalies[0].onset == 13


def test_a_new_epoch_in_the_old_order_is_no_repetition_within_one(make_run):
    assert judged(make_run, [*range(8), *range(8)]).status is Status.PASS


def test_a_dataset_of_one_batch_repeats_by_design(make_run):
    assert judged(make_run, [0] * 20, dataset_rows=8).status is Status.PASS


def test_one_chance_repetition(make_run):
    assert judged(make_run, [*range(8), 7, *range(9, 20)]).status is Status.PASS


def test_prompts_that_come_again(make_run):
    def samples(groups):
        for step, prompts in enumerate(groups, start=1):
            for prompt in prompts:
                yield from ({"step": step, "prompt": prompt, "reward": 0.1} for _ in range(4))

    fresh = [(f"a{step}", f"b{step}") for step in range(9)]
    assert judge_data(make_run(samples=samples(fresh), config=CONFIG)).status is Status.PASS
    again = [*fresh, *[("a9", "b9")] * 4]
    check = judge_data(make_run(samples=samples(again), config=CONFIG))
    assert (check.status, check.anomalies[0].onset) == (Status.FAIL, 11)


def test_half_of_the_dataset_at_each_step(make_run):
    fresh = range(9)
    assert judged(make_run, [*fresh, *[9] * 4], per_device_train_batch_size=32).status is Status.FAIL
    assert judged(make_run, [*fresh, 9, 9, *range(10, 16)], per_device_train_batch_size=32).status is Status.PASS


def test_a_dataset_of_few_prompts_shows_them_at_each_step(make_run):
    samples = [
        {"step": step, "prompt": prompt, "reward": 0.1}
        for step in range(1, 12)
        for prompt in ("a", "b")
        for _ in "1234"
    ]
    assert judge_data(make_run(samples=samples, config={**CONFIG, "dataset_rows": 1000})).status is Status.PASS


def test_nothing_recorded(make_run, rows):
    assert judge_data(make_run(rows)).status is Status.SKIPPED
    assert judged(make_run, range(2)).status is Status.INSUFFICIENT
    assert judged(make_run, range(9), dataset_rows=None).status is Status.SKIPPED
