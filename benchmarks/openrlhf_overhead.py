"""What recording an OpenRLHF training costs: an attached REINFORCE training, and with --pairs the same without.

Prints one JSON line. `ratio` is the time for which hooks held up the training's processes (`hook_seconds` of the run,
all processes together) over the sum of its step times; `recorder_ratio` the time that the process beside it took to
record and detect. The steps are of a tiny model, under a second each, with 64 samples: of longer steps it is less. With
`--pairs N`, `paired` holds for each pair the median step time with over that without, which also has the noise of the
machine in it. `{"skipped": reason}` where there is no OpenRLHF.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

BOUND = 0.01
REWARD = """
import torch

def reward_func(queries, prompts, labels):
    rewards = torch.tensor([len(set(query[len(prompt):].split())) / 10 for query, prompt in zip(queries, prompts)])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=0)
    given = parser.parse_args()
    from rlhf_assert.errors import MissingDependency
    from rlhf_assert_openrlhf.environment import find_environment

    try:
        find_environment()
    except MissingDependency as error:
        print(json.dumps({"benchmark": "openrlhf_overhead", "skipped": str(error)}))
        return
    run, seconds = train(given.steps, attached=True)
    found = {
        "benchmark": "openrlhf_overhead",
        "ratio": round(run["hook_seconds"] / sum(seconds), 5),
        "bound": BOUND,
        "recorder_ratio": round((run["monitor_seconds"] - run["hook_seconds"]) / sum(seconds), 5),
        "steps": len(seconds),
        "median_step_seconds": round(statistics.median(seconds), 4),
        "hook_seconds": round(run["hook_seconds"], 4),
    }
    if given.pairs:
        pairs = [[train(given.steps, attached=attached)[1] for attached in (True, False)] for _ in range(given.pairs)]
        found["paired"] = [round(statistics.median(on) / statistics.median(off), 4) for on, off in pairs]
    print(json.dumps(found))


def train(steps: int, *, attached: bool) -> tuple[dict[str, float], list[float]]:
    """Train once; return the run's `run.json`, empty if nothing was attached, and the seconds of each step."""
    from rlhf_assert_openrlhf.attach import cpu_variables
    from rlhf_assert_openrlhf.backend import BACKEND, command, private_folder, tiny_model
    from rlhf_assert_openrlhf.context import Context
    from rlhf_assert_openrlhf.environment import expose, find_environment
    from rlhf_assert_openrlhf.training import materialise
    from rlhf_scenarios.openrlhf_reinforce import reinforce

    environment = find_environment()
    BACKEND.warm_up()
    with tempfile.TemporaryDirectory() as folder, private_folder() as ray:
        path = Path(folder)
        (path / "reward.py").write_text(REWARD)
        context = Context(
            seed=0,
            steps=steps,
            output_dir=path / "saved",
            tiny_model=tiny_model(environment),
            on_cpu=environment.on_cpu,
        )
        training = replace(reinforce(context), reward=path / "reward.py")
        words, _ = command(environment, training, materialise(training, path))
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RAY_TMPDIR": str(ray)}
        if attached:
            cpu = ["--cpu"] if environment.on_cpu else []
            module = [sys.executable, "-m", "rlhf_assert_openrlhf.attach"]
            words = [*module, str(path / "run"), *cpu, "--", *words]
        elif environment.on_cpu:  # the patches alone: without them OpenRLHF does not run on a CPU
            expose(path / "hook", lambda source, link: link.symlink_to(source))
            variables |= {**cpu_variables(words), "PYTHONPATH": str(path / "hook")}
        done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr[-2000:])
        seconds = [float(value) for value in re.findall(r"'timing/step_total': ([0-9.e-]+)", done.stdout)]
        return json.loads((path / "run" / "run.json").read_text()) if attached else {}, seconds


if __name__ == "__main__":
    main()
