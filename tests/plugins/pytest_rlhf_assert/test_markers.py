"""What the options and the markers accept, without a session around them."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_rlhf_assert.markers import marked_scenario, marked_seeds, marked_steps
from pytest_rlhf_assert.options import MOST_SEEDS, parse_seeds, parse_steps
from rlhf_assert.errors import UsageError


def mark(*arguments: Any, **options: Any) -> pytest.Mark:
    return pytest.mark.rlhf_scenario.with_args(*arguments, **options).mark


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", (0,)), ("0-2", (0, 1, 2)), ("0,3,7", (0, 3, 7)), ("3, 1-3,1", (3, 1, 2)), ("7-7", (7,))]
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


def test_as_many_seeds_as_are_allowed() -> None:
    assert len(parse_seeds(f"0-{MOST_SEEDS - 1}")) == MOST_SEEDS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "give seeds as 0, 0-4 or 0,3,7") for text in ("", "x", "4-2", "-1", "1,,2", "0-4-8", "9" * 5000)),
        *((text, "more than 10,000 seeds") for text in ("0-99999999", "0-9999,10000", "0-4999,5000-9999,10000-19999")),
        ("4294967296", "a seed is a whole number from 0 to 4294967295"),
    ],
)
def test_what_seeds_cannot_be(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_seeds(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["many", "", "1.5", "9" * 5000])
def test_what_steps_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="not a number of steps"):
        parse_steps(text)


@pytest.mark.parametrize(
    ("given", "seeds"), [({}, (0,)), ({"seed": 3}, (3,)), ({"seed": [0, 1, 0]}, (0, 1)), ({"seed": range(2)}, (0, 1))]
)
def test_a_marker_gives_one_seed_or_several(given: dict[str, Any], seeds: tuple[int, ...]) -> None:
    assert marked_seeds(mark("trl-sft", **given)) == seeds


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        *((seed, "a seed is a whole number from 0") for seed in (True, "0-3", 1.5, -1, [0, 1.5], [True], {0, 1})),
        *((seed, "give 1 to 10,000 seeds") for seed in ([], (), range(10**9))),
    ],
)
def test_what_the_seed_of_a_marker_cannot_be(seed: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        marked_seeds(mark("trl-sft", seed=seed))


@pytest.mark.parametrize("steps", [True, "3", 2.5, [3]])
def test_what_the_steps_of_a_marker_cannot_be(steps: Any) -> None:
    with pytest.raises(UsageError, match="give a whole number of steps"):
        marked_steps(mark("trl-sft", steps=steps))


def test_the_scenario_of_a_marker() -> None:
    assert marked_scenario(mark("trl_sft")).name == "trl-sft"
    with pytest.raises(UsageError, match="trl-\\* stands for several scenarios, and one is needed: trl-"):
        marked_scenario(mark("trl-*"))
    with pytest.raises(UsageError, match="takes one scenario: a name"):
        marked_scenario(mark("trl-sft", "trl-grpo"))
