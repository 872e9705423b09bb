"""SIGKILL at a random moment, twenty times: no complete line is lost, and every run is readable and judged."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from rlhf_assert.checked import Status
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import scenarios_in_file
from rlhf_assert.training.request import Request
from rlhf_assert.verdict import judge

SCENARIO = """
import os
from rlhf_assert import scenario

@scenario(steps=400)
def endless(ctx):
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    witness = os.open(ctx.output_dir.parent / "witness", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    class Witness(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            # Every earlier step has been logged, and so recorded, by now.
            os.write(witness, b"%d\\n" % state.global_step)

    return SFTTrainer(
        model=ctx.tiny_model(),
        args=SFTConfig(**ctx.training_arguments()),
        train_dataset=ctx.demonstrations(64),
        processing_class=ctx.tokenizer,
        callbacks=[Witness()],
    )
"""


def killer(path: Path, seconds: float) -> Callable[[], None]:
    """Return a function that kills the training of `path` once it has run for `seconds`."""
    begun: list[float] = []

    def kill() -> None:
        if not (path / "metrics.jsonl").exists():
            return
        begun.append(time.monotonic())
        if time.monotonic() - begun[0] >= seconds:
            os.kill(orjson.loads((path / "run.json").read_bytes())["pid"], signal.SIGKILL)

    return kill


@pytest.mark.training
def test_kill_at_a_random_step(tmp_path: Path) -> None:
    file = tmp_path / "endless.py"
    file.write_text(SCENARIO)
    scenario = scenarios_in_file(file)["endless"]
    moment = random.Random(0)
    reached = []
    with LocalRunner() as runner:
        for attempt in range(20):
            path = tmp_path / f"run-{attempt}"
            run = runner.run(
                Request.of(scenario, seed=attempt), path, on_progress=killer(path, moment.uniform(0.0, 1.2))
            )
            assert run.status == "crashed"
            assert run.error is not None
            assert "killed by SIGKILL (signal 9)" in run.error["message"]
            witnessed = int((path / "witness").read_text().split()[-1])
            assert run.steps >= witnessed, "a step that had been logged is not in the record"
            assert [row.step for row in run.rows] == list(range(1, run.steps + 1))
            assert run.torn_lines <= 1
            verdict = judge(run)
            (completion,) = [check for check in verdict.checks if check.name == "completion"]
            assert completion.status is Status.FAIL
            assert "SIGKILL" in completion.headline
            reached.append(run.steps)
    assert len(set(reached)) > 5, f"the kills came at {reached}: not at random steps"
