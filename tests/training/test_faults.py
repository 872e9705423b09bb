"""The vocabulary of faults: its text form, its defaults, and what it refuses."""

from __future__ import annotations

import pytest

from rlhf_assert.checks.registry import found_by
from rlhf_assert.errors import UsageError
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import Fault, decode_fault, describe_fault, encode_fault, make_fault, parse_fault

ALGORITHMS = {"ppo", "grpo", "rloo", "reinforce", "online-dpo", "dpo", "kto", "reward", "sft"}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_makes_sense_and_survives_its_text_form(kind: str) -> None:
    fault, known = make_fault(kind), FAULTS[kind]
    assert parse_fault(str(fault)) == fault
    assert decode_fault(encode_fault(fault)) == fault
    assert known.algorithms
    assert known.algorithms <= ALGORITHMS
    assert found_by(kind)
    assert ("{}" in known.summary) == bool(known.unit)
    assert f"{fault.magnitude:g}" in describe_fault(fault) or not known.unit


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("reward_nan", Fault("reward_nan", 10, 1.0)),
        ("reward_nan@3", Fault("reward_nan", 3, 1.0)),
        ("reward_nanx2", Fault("reward_nan", 10, 2.0)),
        ("reward_nan@3x2", Fault("reward_nan", 3, 2.0)),
        ("learning_rate_spike@5x1e4", Fault("learning_rate_spike", 5, 10000.0)),
    ],
)
def test_text_form(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reward_nna", "did you mean reward_nan?"),
        ("reward_nan@0", "1 or later"),
        ("reward_nan@-2", "1 or later"),
        ("reward_nan@x", "NAME[@ONSET][xMAGNITUDE]"),
        ("reward_nan@1x1.2.3", "no number"),
        ("truncationx-1", "out of range"),
        ("parameters_frozenx1.5", "share of the parameter tensors"),
        ("weights_nanx1e999", "not a number"),
        ("reference_zeroedx3", "takes no magnitude"),
        ("", "NAME[@ONSET][xMAGNITUDE]"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_fault(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("onset", "magnitude"), [(1.5, 1.0), ("3", 1.0), (True, 1.0), (3, "1"), (3, float("nan"))])
def test_arguments_of_a_marker_are_checked_too(onset: object, magnitude: object) -> None:
    with pytest.raises(UsageError):
        make_fault("reward_nan", onset, magnitude)  # type: ignore[arg-type]
