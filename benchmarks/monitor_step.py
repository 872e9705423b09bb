"""What monitoring one training step costs: a row of 25 metrics recorded to a real file, and judged.

Prints one JSON line: {"benchmark": "monitor_step", "median_us", "p99_us", "steps"}.
Bars: median under 50 µs, p99 under 1 ms.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import tempfile
import time
from pathlib import Path

from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.recording.recorder import Recorder

LEVELS = {
    "loss": 0.05,
    "grad_norm": 0.7,
    "num_tokens": 1e5,
    "completions/mean_length": 24.0,
    "completions/min_length": 3.0,
    "completions/max_length": 64.0,
    "completions/clipped_ratio": 0.2,
    "completions/mean_terminated_length": 20.0,
    "completions/min_terminated_length": 3.0,
    "completions/max_terminated_length": 60.0,
    "rewards/target/mean": 0.4,
    "rewards/target/std": 0.2,
    "reward": 0.4,
    "reward_std": 0.2,
    "frac_reward_zero_std": 0.1,
    "kl": 0.05,
    "entropy": 2.5,
    "clip_ratio/region_mean": 0.01,
    "policy/approxkl_avg": 0.002,
    "loss/value_avg": 0.3,
    "loss/policy_avg": 0.01,
    "val/ratio": 1.0,
    "advantage": 0.01,
    "advantage_std": 0.9,
}
"""Level of each of 24 keys of TRL, all but the learning rate; 20 of the 25 metrics have a canonical name."""


def rows(steps: int) -> list[dict[str, float]]:
    """Return rows of a run in which everything moves and some metrics have a trend."""
    source = random.Random(0)
    found = []
    for step in range(steps):
        row = {key: level * (1.0 + 0.2 * source.gauss(0.0, 1.0)) for key, level in LEVELS.items()}
        row["reward"] *= 1.0 + step / steps
        row["kl"] *= 1.0 + step / steps
        row["learning_rate"] = 1e-3 * (1.0 - step / steps)
        found.append(row)
    return found


def measure(prepared: list[dict[str, float]]) -> list[float]:
    """Return the seconds that each step took, sorted."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        recording = LiveRecording(Recorder(Path(folder) / "run", algorithm="grpo", config={"beta": 0.04}))
        for step, row in enumerate(prepared, start=1):
            begin = time.perf_counter()
            recording.row(step, row)
            seconds.append(time.perf_counter() - begin)
        recording.finish()
    return sorted(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3, help="the round with the least median counts")
    options = parser.parse_args()
    prepared = rows(options.steps)
    gc.freeze()
    seconds = min((measure(prepared) for _ in range(options.rounds)), key=lambda found: found[len(found) // 2])
    result = {
        "benchmark": "monitor_step",
        "median_us": round(seconds[options.steps // 2] * 1e6, 1),
        "p99_us": round(seconds[options.steps * 99 // 100] * 1e6, 1),
        "steps": options.steps,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
