"""A request: one training, as pytest or a validation asks for it and as whatever trains receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from rlhf_assert.errors import UsageError
from rlhf_assert.recording.encoding import encode
from rlhf_assert.training.faults import Fault, decode_fault, encode_fault
from rlhf_assert.training.locator import locate_one, word_for
from rlhf_assert.training.scenario import Scenario, check_steps

MOST_SEED = 2**32 - 1
"""The largest seed that numpy takes, and with it every trainer."""


@dataclass(frozen=True, slots=True)
class Request:
    """One training: what is trained, for how long, from which seed, and what is broken in it on purpose.

    Attributes:
        scenario: what to train.
        seed: seeds weights, data and sampling.
        steps: optimizer steps (PPO: updates).
        fault: what to break on purpose; None in a healthy training.

    Raises:
        UsageError: a number of steps or a seed that cannot be, or a fault that begins after the last step.
    """

    scenario: Scenario
    seed: int
    steps: int
    fault: Fault | None = None

    def __post_init__(self) -> None:
        check_steps(self.scenario.name, self.steps)
        check_seed(self.seed)
        if self.fault is not None and self.fault.onset > self.steps:
            raise UsageError(
                f"fault {self.fault}: begins at step {self.fault.onset}, but {self.scenario.name} has "
                f"{self.steps} steps"
            )

    @classmethod
    def of(cls, scenario: Scenario, *, seed: int = 0, steps: int | None = None, fault: Fault | None = None) -> Self:
        """Return a request; without `steps` it takes the scenario's own."""
        return cls(scenario, seed, scenario.steps if steps is None else steps, fault)

    @property
    def key(self) -> str:
        """A name of the training that is good as a folder's; requests with the same key train the same."""
        broken = f"-{self.fault}" if self.fault else ""
        return f"{self.scenario.name}-seed{self.seed}-steps{self.steps}{broken}"


def check_seed(seed: int) -> None:
    """Check that a trainer can take a seed.

    Raises:
        UsageError: not a whole number, negative, or too large.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= MOST_SEED:
        raise UsageError(f"seed={str(seed)[:40]}: a seed is a whole number from 0 to {MOST_SEED}")


def encode_request(request: Request) -> dict[str, Any]:
    """Return the JSON form of a request, by which another process finds and trains the same.

    `scenario` is the word for the locator, and `fields` are the scenario's own values: a changed copy of a scenario
    is trained as it is.
    """
    scenario = request.scenario
    values = {field.name: getattr(scenario, field.name) for field in fields(scenario) if field.name != "function"}
    return {
        "scenario": word_for(scenario),
        "fields": encode(values),
        "seed": request.seed,
        "steps": request.steps,
        "fault": encode_fault(request.fault),
    }


def decode_request(record: Mapping[str, Any]) -> Request:
    """Return the request of its JSON form; imports the file that defines its scenario.

    Raises:
        UsageError: the scenario cannot be found here.
    """
    values: dict[str, Any] = dict(record["fields"])
    for name in ("time_limit", "cpus", "gpus"):  # JSON has no infinity: it comes as a text
        values[name] = None if values[name] is None else float(values[name])
    scenario = replace(locate_one(record["scenario"]), **values)
    return Request(scenario, record["seed"], record["steps"], decode_fault(record["fault"]))
