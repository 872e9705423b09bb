"""A request: what it refuses, and its way to another process and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_assert.errors import UsageError
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, make_fault
from rlhf_assert.training.locator import packaged_scenarios
from rlhf_assert.training.request import MOST_SEED, Request, decode_request, encode_request
from rlhf_assert.training.scenario import MOST_STEPS, Scenario, scenario

TEXTS = st.lists(st.text(), max_size=3).map(tuple)
AMOUNTS = st.floats(min_value=0.0, allow_nan=False)


@scenario(steps=7)
def my_training(context: object) -> object:
    return context


@st.composite
def requests(draw: Callable[..., Any]) -> Request:
    """Draw a request whose scenario may be a changed copy, packaged or of this file."""
    known = draw(st.sampled_from([my_training, *packaged_scenarios().values()]))
    changed: Scenario = replace(
        known,
        steps=draw(st.integers(1, MOST_STEPS)),
        tags=draw(TEXTS),
        promises=draw(TEXTS),
        requires=draw(TEXTS),
        learns=draw(st.none() | st.text()),
        reason=draw(st.text()),
        time_limit=draw(AMOUNTS),
        cpus=draw(st.none() | AMOUNTS),
        gpus=draw(st.none() | AMOUNTS),
    )
    steps = draw(st.integers(1, MOST_STEPS))
    kind = draw(st.none() | st.sampled_from(sorted(FAULTS)))
    fault = None if kind is None else make_fault(kind, draw(st.integers(1, steps)))
    return Request(changed, draw(st.integers(0, MOST_SEED)), steps, fault)


@given(requests())
def test_a_request_survives_the_way_to_another_process(request: Request) -> None:
    assert decode_request(orjson.loads(orjson.dumps(encode_request(request)))) == request


@given(requests())
def test_the_key_is_good_as_a_folder(request: Request) -> None:
    assert Path(request.key).name == request.key
    assert len(f"{request.key}.lock".encode()) <= 255
    assert request.key.isprintable()


def test_a_copy_trains_what_it_says_without_an_end() -> None:
    endless = replace(my_training, time_limit=math.inf)
    again = decode_request(orjson.loads(orjson.dumps(encode_request(Request.of(endless)))))
    assert again.scenario.time_limit == math.inf
    assert again.scenario.function is my_training.function


def test_the_scenario_gives_what_is_not_asked_for() -> None:
    assert Request.of(my_training) == Request(my_training, 0, 7, None)
    assert Request.of(my_training, steps=3, seed=2).key == "my-training-seed2-steps3"
    assert Request.of(my_training, fault=make_fault("reward_nan", 5, 2)).key == (
        "my-training-seed0-steps7-reward_nan@5x2"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "my-training: steps=0, but a training takes at least 1 step"),
        ({"steps": True}, "steps=True"),
        ({"steps": 10**20}, "more than 1,000,000,000 steps"),
        ({"seed": -1}, "seed=-1: a seed is a whole number from 0 to 4294967295"),
        ({"seed": True}, "seed=True: a seed is"),
        ({"seed": "0"}, "seed=0: a seed is"),
        ({"seed": 2**32}, "seed=4294967296: a seed is"),
        ({"fault": Fault("reward_nan", 8, 1.0)}, "begins at step 8, but my-training has 7 steps"),
        ({"fault": Fault("reward_nan", 5, 1.0), "steps": 4}, "begins at step 5, but my-training has 4 steps"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request.of(my_training, **changes)


def test_a_scenario_that_is_not_there_is_told() -> None:
    record = encode_request(Request.of(packaged_scenarios()["trl-sft"]))
    with pytest.raises(UsageError, match=r"unknown scenario trl-sf \(did you mean trl-sft\?\)"):
        decode_request({**record, "scenario": "trl-sf"})
