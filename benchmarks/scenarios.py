"""How long the main job takes from process start, once installed: one JSON line."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time


def pytest_seconds(*arguments: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *arguments], check=False, cwd=folder, capture_output=True, text=True
        )
        seconds = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(done.stdout[-3000:])
    return seconds


def main() -> None:
    pytest_seconds("--rlhf-scenario=trl-sft")  # builds the warm-started model once
    grpo = pytest_seconds("--rlhf-scenario=trl-grpo")
    every = pytest_seconds("--rlhf-scenario")
    print(
        json.dumps(
            {
                "benchmark": "scenarios",
                "trl_grpo_s": round(grpo, 1),
                "all_s": round(every, 1),
                "limit_trl_grpo_s": 25,
                "limit_all_s": 60,
            }
        )
    )


if __name__ == "__main__":
    main()
