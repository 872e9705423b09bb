"""What monitoring costs: a 40-step GRPO run with and without `HealthCallback`, in turn, in one process.

Prints one JSON line. `ratio` is the median over pairs of (seconds with) / (seconds without) of `trainer.train()`, both
in processor time of this process, which other processes do not disturb; `wall_ratio` is the same in wall-clock time.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

STEPS = 40
BOUND = 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    pairs = parser.parse_args().pairs
    from rlhf_assert_trl.backend import BACKEND

    warnings.simplefilter("ignore")
    BACKEND.warm_up()
    gc.collect()
    gc.freeze()
    train(monitored=True)
    found = []
    for index in range(pairs):
        first = index % 2 == 0
        one, other = train(monitored=first), train(monitored=not first)
        found.append((one, other) if first else (other, one))
    ratios = [[on[clock] / off[clock] for on, off in found] for clock in (0, 1)]
    print(
        json.dumps(
            {
                "benchmark": "monitoring_overhead",
                "ratio": round(statistics.median(ratios[0]), 4),
                "bound": BOUND,
                "pairs": pairs,
                "ratios": [round(ratio, 4) for ratio in ratios[0]],
                "wall_ratio": round(statistics.median(ratios[1]), 4),
                "steps": STEPS,
                "seconds_without": round(statistics.median(off[0] for _, off in found), 3),
            }
        )
    )


def train(*, monitored: bool) -> tuple[float, float]:
    """Train once; return processor and wall-clock seconds."""
    import transformers

    from rlhf_assert_trl import HealthCallback
    from rlhf_assert_trl.context import Context
    from rlhf_scenarios.grpo import grpo

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        transformers.set_seed(0)
        trainer: Any = grpo(Context(seed=0, steps=STEPS, output_dir=Path(folder) / "checkpoints"))
        if monitored:
            trainer.add_callback(HealthCallback(Path(folder) / "run"))
        gc.collect()
        processor, wall = time.process_time(), time.perf_counter()
        trainer.train()
        return time.process_time() - processor, time.perf_counter() - wall


if __name__ == "__main__":
    main()
