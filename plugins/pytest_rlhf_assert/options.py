"""The options that change what is trained: seeds, steps and faults, as they are written on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest  # noqa: TID253 - this is a pytest plugin

from rlhf_assert.errors import UsageError
from rlhf_assert.training.faults import Fault, parse_fault
from rlhf_assert.training.request import check_seed

MOST_SEEDS = 10_000
"""How many seeds one session may ask for: each is a training."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about every training; it wins over what a marker says.

    Attributes:
        steps: number of steps, or None if it was not given.
        seeds: the seeds; empty if they were not given.
        faults: the faults; empty if none was given.
    """

    steps: int | None
    seeds: tuple[int, ...]
    faults: tuple[Fault, ...]


OPTIONS = pytest.StashKey[Options]()


def options(config: pytest.Config) -> Options:
    """Return what the command line says about every training.

    Raises:
        UsageError: an option that cannot be right.
    """
    if OPTIONS not in config.stash:
        steps, seeds = config.getoption("rlhf_steps"), config.getoption("rlhf_seed")
        faults = tuple(dict.fromkeys(map(parse_fault, config.getoption("rlhf_fault") or ())))
        config.stash[OPTIONS] = Options(
            None if steps is None else parse_steps(steps), () if seeds is None else parse_seeds(seeds), faults
        )
    return config.stash[OPTIONS]


def parse_steps(text: str) -> int:
    """Return the number of `--rlhf-steps`.

    Raises:
        UsageError: not a number.
    """
    if not re.fullmatch(r"-?\d{1,12}", text):
        raise UsageError(f"--rlhf-steps={text[:40]}: not a number of steps")
    return int(text)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds of `--rlhf-seed`.

    Raises:
        UsageError: not of the form 0, 0-4 or 0,3,7; or more than `MOST_SEEDS`.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise UsageError(f"--rlhf-seed={text[:40]}: give seeds as 0, 0-4 or 0,3,7")
        first, last = int(match[1]), int(match[2] or match[1])
        seeds.update(dict.fromkeys(range(first, min(last, first + MOST_SEEDS) + 1)))
        if len(seeds) > MOST_SEEDS:
            raise UsageError(f"--rlhf-seed={text[:40]}: more than {MOST_SEEDS:,} seeds, and each is a training")
        check_seed(last)
    return tuple(seeds)
