"""What is summed up of an engine's iterations, and what the weight sync canary does with a weight."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace

import pytest

from rlhf_assert_openrlhf.inside import canary, engine
from rlhf_assert_openrlhf.inside.engine import Usage, summarise


def scheduler(running: int, waiting: int = 0, kv_cache: float = 0.1) -> SimpleNamespace:
    return SimpleNamespace(
        kv_cache_usage=kv_cache, num_running_reqs=running, num_waiting_reqs=waiting, num_skipped_waiting_reqs=0
    )


def iteration(
    time: float,
    tokens: int,
    first: tuple[float, ...] = (),
    between: tuple[float, ...] = (),
    finished: tuple[tuple[float, float], ...] = (),
) -> SimpleNamespace:
    return SimpleNamespace(
        iteration_timestamp=time,
        num_generation_tokens=tokens,
        num_preempted_reqs=1,
        time_to_first_tokens_iter=list(first),
        inter_token_latencies_iter=list(between),
        finished_requests=[SimpleNamespace(e2e_latency=end, queued_time=queued) for end, queued in finished],
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_usage", Usage())
    monkeypatch.setattr(engine, "_working_since", None)


def actor(unfinished: int = 0) -> SimpleNamespace:
    processor = SimpleNamespace(get_num_unfinished_requests=lambda: unfinished)
    return SimpleNamespace(llm=SimpleNamespace(output_processor=processor))


def test_iterations_are_summed_up_and_forgotten_when_asked() -> None:
    engine.iterate(scheduler(2, waiting=3, kv_cache=0.7), iteration(10.0, 2, first=(0.5, 0.3)))
    engine.iterate(scheduler(1), iteration(10.1, 2, between=(0.1, 0.1), finished=((0.6, 0.01),)))
    engine.iterate(scheduler(0), iteration(10.3, 1, between=(0.2,), finished=((0.8, 0.03),)))
    engine.iterate(scheduler(1), iteration(60.0, 1, first=(0.25,)))  # the idle time before is none of its work
    usage = engine.answer(actor(unfinished=1))
    assert asdict(usage) == {
        "tokens": 6,
        "requests": 2,
        "preemptions": 4,
        "busy": pytest.approx(0.5 + 0.1 + 0.2 + 0.25),
        "first_token": pytest.approx(1.05),
        "first_tokens": 3,
        "between": pytest.approx(0.4),
        "betweens": 3,
        "latency": pytest.approx(1.4),
        "queued": pytest.approx(0.04),
        "kv_cache": 0.7,
        "running": 2,
        "waiting": 3,
        "unfinished": 1,
    }
    assert engine.answer(actor()) == Usage()


def test_an_iteration_without_statistics_counts_nothing() -> None:
    engine.iterate(None, None)
    assert engine.answer(actor()) == Usage()


def test_the_numbers_of_a_step_are_over_all_engines() -> None:
    one = Usage(tokens=300, requests=3, busy=2.0, latency=3.0, first_token=0.6, first_tokens=3, kv_cache=0.2)
    other = Usage(tokens=100, requests=1, busy=1.0, latency=3.0, first_token=1.0, first_tokens=1, kv_cache=0.5)
    found = summarise([one, other])
    assert found["vllm_throughput"] == 200.0
    assert found["vllm_latency"] == 1.5
    assert found["engine/time_to_first_token"] == pytest.approx(0.4)
    assert found["engine/kv_cache_usage"] == 0.5
    assert "engine/inter_token_latency" not in found
    assert "vllm_throughput" not in summarise([Usage()])


def test_steps_that_were_not_logged_are_merged() -> None:
    usage = Usage(tokens=3, kv_cache=0.2, running=4, unfinished=2)
    usage.merge(Usage(tokens=4, kv_cache=0.1, running=9, unfinished=0))
    assert usage == Usage(tokens=7, kv_cache=0.2, running=9, unfinished=0)


def test_the_canary_picks_the_last_vector_and_touches_every_other_element_of_all_that_holds_it() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3, bias=False), torch.nn.Linear(3, 5, False))
    name, weight = canary.pick(model)
    assert name == "1.weight"
    assert [part.tolist() for part in canary.parts(weight)] == [[1.0, 1.0, 1.0]]
    weight.ds_tensor = torch.ones(2)
    assert [part.numel() for part in canary.parts(weight)] == [2, 3]


def test_the_canary_compares_by_engine() -> None:
    before, changed, restored = [[-1.0, -2.0]] * 2, [[-1.0, -2.5], [-1.0, -2.0]], [[-1.0, -2.0], [-1.25, -2.0]]
    assert canary.compare(before, changed, restored) == [{"moved": 0.5, "off": 0.0}, {"moved": 0.0, "off": 0.25}]
