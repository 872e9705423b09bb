from __future__ import annotations

import pytest
from click.testing import CliRunner

from rlhf_assert.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fault", "reward_nam"], "did you mean reward_nan"),
        (["--scenario", "trl-grop"], "did you mean trl-grpo"),
        (["--fault", "value_head_scaled", "--scenario", "trl-sft"], "no fault applies to trl-sft"),
        (["--detector", "nowhere.py"], "no such file"),
        (["--seeds", "0"], "at least 1 seed"),
    ],
)
def test_what_cannot_be_validated_is_exit_2_before_any_training(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["validate", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.splitlines()[-1] == "exit 2   (nothing was validated)"
