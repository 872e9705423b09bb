"""`rlhf-assert demo`: what a sick training looks like, judged by the code that judges real ones."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from rlhf_assert.cli.check_command import conclude, print_alarms, print_one
from rlhf_assert.cli.check_text import Style
from rlhf_assert.cli.output import finish, plain, width
from rlhf_assert.errors import suggest
from rlhf_assert.ingest.build import Source, runs_of
from rlhf_assert.ingest.table import Table
from rlhf_assert.judging.answers import answer_run

STEPS = 80
Row = dict[str, float]


def healthy(step: int, noise: random.Random) -> Row:
    """A GRPO training that learns: the reward rises, the policy leaves the reference slowly."""
    done = step / STEPS
    return {
        "loss": noise.gauss(0.0, 0.01),
        "grad_norm": 0.4 * math.exp(noise.gauss(0.0, 0.2)),
        "learning_rate": 1e-5 * (1.0 - done) + 1e-7,
        "reward": 0.16 + 0.4 * done + noise.gauss(0.0, 0.02),
        "reward_std": 0.2 + noise.gauss(0.0, 0.01),
        "frac_reward_zero_std": 0.125 * noise.randrange(3),
        "kl": 0.0 if step == 1 else 0.03 * done * math.exp(noise.gauss(0.0, 0.15)),
        "entropy": 2.3 - 0.15 * done + noise.gauss(0.0, 0.01),
        "completions/mean_length": 60.0 + noise.gauss(0.0, 3.0),
    }


def kl_runaway(step: int, noise: random.Random) -> Row:
    """Without a penalty the policy leaves the reference faster and faster, and its language goes with it."""
    row = healthy(step, noise)
    late = max(0, step - 30)
    row["kl"] += 0.02 * (1.17 ** min(late, 46) - 1.0)
    row["entropy"] *= math.exp(-0.08 * late)
    row["reward"] -= 0.012 * max(0, step - 50)
    return row


def nan_gradient(step: int, noise: random.Random) -> Row:
    """One overflow at step 41: from then on every weight is NaN."""
    row = healthy(step, noise)
    return {key: math.nan if step > 40 and key != "learning_rate" else value for key, value in row.items()}


def dead_reward(step: int, noise: random.Random) -> Row:
    """The reward function returns the same for every completion: there is nothing to learn from."""
    row = healthy(step, noise)
    return row | {
        "reward": 1.0,
        "reward_std": 0.0,
        "frac_reward_zero_std": 1.0,
        "loss": 0.0,
        "grad_norm": 0.0,
        "kl": 0.0,
    }


DEMOS: Mapping[str, Callable[[int, random.Random], Row]] = {
    "kl-runaway": kl_runaway,
    "nan-gradient": nan_gradient,
    "dead-reward": dead_reward,
    "healthy": healthy,
}


@click.command()
@click.argument("name", metavar="[" + "|".join(DEMOS) + "]", default="kl-runaway")
def demo(name: str) -> None:
    """Judge a made-up training: synthetic curves, the same code that judges a real log. Exits 0 whatever it finds."""
    if name not in DEMOS:
        raise click.UsageError(f"unknown demo {name}{suggest(name, DEMOS)}; known: {', '.join(DEMOS)}")
    table = Table()
    noise = random.Random(0)  # noqa: S311 - a demonstration that is the same every time
    table.extend({"step": step, **DEMOS[name](step, noise)} for step in range(1, STEPS + 1))
    run = runs_of(Path(name), table.finish(), Source("demo"))[0]
    judged = answer_run(f"{name} (synthetic curves)", run, Style(width(), plain()), alone=True)
    print_one(judged)
    print_alarms([judged])
    code, why = conclude([judged], "critical")
    finish(0, f"a demo; for a log like this, check ends with exit {code}: {why}")
