"""Seconds and peak memory of `rlhf-assert check` on long logs, and on many small ones; one JSON line.

Bars: a million rows of eight metrics in 20 s and 1.5 GB, at most 12 times the time of a tenth of them, and 200 small
logs in one call in 10 s.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LONG = 1_000_000
SMALL = 200
COMMAND = [sys.executable, "-m", "rlhf_assert.cli", "check", "--fail-on=never", "--format=json"]


def write_log(path: Path, rows: int, seed: int = 0) -> Path:
    """A healthy GRPO log: eight metrics beside the step."""
    noise = random.Random(seed)
    with path.open("w") as stream:
        for step in range(1, rows + 1):
            done = step / rows
            row = {
                "step": step,
                "loss": noise.gauss(0.0, 0.02),
                "grad_norm": math.exp(noise.gauss(-1.0, 0.3)),
                "learning_rate": 1e-6 * (1.0 - done) + 1e-9,
                "reward": 0.2 + 0.6 * done + noise.gauss(0.0, 0.05),
                "reward_std": 0.25 + noise.gauss(0.0, 0.02),
                "kl": 0.001 + 0.05 * done + abs(noise.gauss(0.0, 0.002)),
                "entropy": 1.5 - 0.4 * done + noise.gauss(0.0, 0.03),
                "completions/mean_length": 200.0 + noise.gauss(0.0, 8.0),
            }
            stream.write(json.dumps(row) + "\n")
    return path


def measure(paths: list[Path]) -> tuple[float, float, float]:
    """Return the seconds of one call, those of processors, and the peak memory of its largest process in GB."""
    code = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL).returncode; "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(code, used.ru_maxrss, used.ru_utime + used.ru_stime)"
    )
    begun = time.perf_counter()
    called = [sys.executable, "-c", code, *COMMAND, *map(str, paths)]
    told = subprocess.run(called, capture_output=True, text=True, check=True).stdout.split()
    if told[0] != "0":
        raise SystemExit(f"check ended with exit code {told[0]}")
    scale = 1.0 if sys.platform == "darwin" else 1024.0
    return time.perf_counter() - begun, float(told[2]), float(told[1]) * scale / 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        long = write_log(Path(folder) / "long.jsonl", LONG)
        tenth = write_log(Path(folder) / "tenth.jsonl", LONG // 10)
        small = [write_log(Path(folder) / f"small{index}.jsonl", 200, index) for index in range(SMALL)]
        seconds, busy, memory = measure([long])
        tenth_seconds, tenth_busy, _ = measure([tenth])
        small_seconds, small_busy, _ = measure(small)
    answer = {
        "benchmark": "check_speed",
        "rows": LONG,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(busy, 2),
        "peak_gb": round(memory, 2),
        "tenth_seconds": round(tenth_seconds, 2),
        "tenth_cpu_seconds": round(tenth_busy, 2),
        "ratio": round(busy / tenth_busy, 1),
        "small_logs": SMALL,
        "small_seconds": round(small_seconds, 2),
        "small_cpu_seconds": round(small_busy, 2),
        "cores": os.cpu_count(),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
