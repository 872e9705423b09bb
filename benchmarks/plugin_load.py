"""What loading the plugin costs a session that does not use it, after pytest itself: one JSON line.

Each sample is a fresh interpreter that has imported pytest. `ratio_to_xdist` relates it to a well-known plugin,
measured alternately in the same way, so that a slow machine shows.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

SAMPLES = 15
CODE = """
import sys, time, argparse, pytest
from _pytest.config.argparsing import Parser
before = set(sys.modules)
start = time.perf_counter()
import {module} as plugin
if hasattr(plugin, "pytest_addoption"):
    plugin.pytest_addoption(Parser(_ispytest=True))
print(time.perf_counter() - start, *[name for name in {heavy} if name in sys.modules and name not in before])
"""
HEAVY = ("numpy", "torch", "transformers", "trl", "hypothesis", "ray")


def load_seconds(module: str) -> tuple[float, list[str]]:
    code = CODE.format(module=module, heavy=HEAVY)
    seconds, *heavy = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    return float(seconds), heavy


def main() -> None:
    ours, peer, heavy = [], [], []
    for _ in range(SAMPLES):
        seconds, heavy = load_seconds("pytest_rlhf_assert")
        ours.append(seconds)
        peer.append(load_seconds("xdist.plugin")[0])
    median = statistics.median(ours)
    print(
        json.dumps(
            {
                "benchmark": "plugin_load",
                "median_ms": round(1000 * median, 3),
                "max_ms": round(1000 * max(ours), 3),
                "ratio_to_xdist": round(median / statistics.median(peer), 2),
                "heavy_imports": heavy,
                "samples": SAMPLES,
                "limit_ms": 5,
            }
        )
    )


if __name__ == "__main__":
    main()
