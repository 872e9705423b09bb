from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_assert.recording.run import Run
from rlhf_assert.validation.prefix import prefix


def test_a_prefix_holds_what_was_recorded_by_then(make_run: Callable[..., Run], tmp_path: Path) -> None:
    run = make_run(
        [{"loss": float(step)} for step in range(1, 7)],
        status="crashed",
        error={"type": "RuntimeError", "message": "late", "traceback": ""},
        samples=[{"step": step, "reward": 1.0} for step in range(1, 7)],
        events=[("step_begin", 2, {}), ("save", 3, {}), ("step_begin", 3, {}), ("save", 6, {})],
        weights={0: {"a": np.ones(2)}, 3: {"a": np.ones(2)}, 6: {"a": np.ones(2)}},
    )

    part = prefix(run, 3, tmp_path / "part")

    assert part["loss"].values.tolist() == [1.0, 2.0, 3.0]
    assert part.samples.step.tolist() == [1, 2, 3]
    assert [event.name for event in part.events] == ["step_begin", "save"]  # step_begin of step 4 says 3
    assert [path.name for path in part.checkpoints] == ["checkpoint-3"]
    assert (part.path / "checkpoints" / "initial").exists()
    assert (part.status, part.error, part.scenario) == ("completed", None, run.scenario)


def test_the_whole_is_a_prefix_of_itself(make_run: Callable[..., Run], tmp_path: Path, rows: list[Any]) -> None:
    run = make_run(rows)
    assert prefix(run, run.steps, tmp_path / "whole").rows == run.rows
