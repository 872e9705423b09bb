from __future__ import annotations

import math
from typing import Any

import pytest

from rlhf_assert.detect import Severity
from rlhf_assert.detect.detectors.step_one import LN2, StepOne

OWN = {"beta": 0.04}


@pytest.mark.parametrize("kl", [0.0, 2.4e-7, -3e-8, 0.005])
def test_a_policy_that_is_the_reference_is_sound(find: Any, kl: float) -> None:
    assert find(StepOne("grpo", OWN), [{"kl_div": kl}, {"kl_div": 0.5}]) == []


@pytest.mark.parametrize("kl", [0.95, 4.15, -0.2])
def test_a_reference_that_is_not_the_policy_is_found(find: Any, kl: float) -> None:
    (found,) = find(StepOne("grpo", OWN), [{"kl_div": kl}] * 3)

    assert (found.kind, found.metric, found.severity, found.onset) == ("step-one-kl", "kl_div", Severity.critical, 1)


def test_on_a_log_without_configuration_it_is_a_note(find: Any) -> None:
    (found,) = find(StepOne("grpo"), [{"kl_div": 0.6}])
    assert found.severity is Severity.info


def test_a_log_that_begins_later_is_not_judged(find: Any) -> None:
    rows = [{"kl_div": 0.6, "ratio": 0.5, "loss": 9.0}]
    assert find(StepOne("dpo", OWN), rows, first=10) == []
    assert find(StepOne("dpo", OWN), [{"eval_loss": 1.0}, *rows], first=0) != []


@pytest.mark.parametrize(("batches", "ratio"), [(2, 0.5), (4, 0.25), (4, 0.2587), (8, 0.125)])
def test_the_upstream_average_is_recognised(find: Any, batches: int, ratio: float) -> None:
    for config in ({"num_mini_batches": batches, "num_ppo_epochs": 4}, {}):
        (found,) = find(StepOne("ppo", config), [{"ratio": ratio}])
        assert (found.kind, found.severity, found.evidence["divisor"]) == ("metric-divided", Severity.info, batches)
        assert "num_mini_batches=1" in found.remedy


@pytest.mark.parametrize(
    ("config", "ratio", "severity"),
    [
        ({"num_mini_batches": 1, "num_ppo_epochs": 1}, 1.0005, None),
        ({"num_mini_batches": 1, "num_ppo_epochs": 1}, 1.03, Severity.critical),
        ({"num_mini_batches": 1, "num_ppo_epochs": 4}, 1.0349, None),  # its own updates move the average
        ({"num_mini_batches": 1, "num_ppo_epochs": 4}, 0.5, Severity.warning),
        ({"num_mini_batches": 4, "num_ppo_epochs": 1}, 0.5, Severity.warning),
        ({}, 2.0, Severity.warning),
        ({}, 1.0, None),
    ],
)
def test_any_other_ratio_is_judged_by_the_number_of_updates(
    find: Any, config: dict[str, int], ratio: float, severity: Severity | None
) -> None:
    found = find(StepOne("ppo", config), [{"ratio": ratio}])
    assert [(each.kind, each.severity) for each in found] == (
        [] if severity is None else [("step-one-ratio", severity)]
    )


@pytest.mark.parametrize(
    ("algorithm", "config", "loss", "sound"),
    [
        ("dpo", OWN, LN2, True),
        ("dpo", OWN, 0.75, False),
        ("dpo", OWN, math.nan, True),  # another detector's
        ("dpo", {"loss_type": ["sigmoid"]}, 0.75, False),
        ("dpo", {"loss_type": "ipo"}, 0.75, True),
        ("dpo", {"rpo_alpha": 1.0}, 2.0, True),
        ("sft", OWN, 3.0, True),
        ("", OWN, 3.0, True),
    ],
)
def test_the_logistic_loss_begins_at_ln_2(
    find: Any, algorithm: str, config: dict[str, Any], loss: float, sound: bool
) -> None:
    found = find(StepOne(algorithm, config), [{"loss": loss}])
    assert [each.kind for each in found] == ([] if sound else ["step-one-loss"])


def test_several_rows_of_step_one_report_once() -> None:
    detector = StepOne("grpo", OWN)
    assert len([*detector.update(1, {"kl_div": 1.0}), *detector.update(1, {"kl_div": 1.0})]) == 1
