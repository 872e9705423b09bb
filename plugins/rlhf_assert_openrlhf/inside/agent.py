"""An agent of two turns for tiny trainings, loaded by OpenRLHF from this file (`train.agent_func_path`).

The policy is asked to name animals; the environment names the first thing in its answer that is none, or asks for
more, and the policy answers a second time. Each turn is rewarded with the share of animals in its words, and the two
are averaged.
"""

from __future__ import annotations

import re
from typing import Any

from openrlhf.utils.agent import (  # type: ignore[import-not-found]  # noqa: TID253 - only OpenRLHF loads this file
    AgentInstanceBase,
    MultiTurnAgentExecutor,
)

from rlhf_assert_openrlhf.inside.reward import strip_end
from rlhf_assert_tiny.task import ANIMALS, animal_share

TURNS = 2


class NameAnimals(AgentInstanceBase):  # type: ignore[misc]
    """The environment of one conversation; OpenRLHF makes one for each."""

    def __init__(self) -> None:
        self._turn = 0

    async def step(self, state_dict: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Reward an answer, and reply to it unless it was the last."""
        import torch

        self._turn += 1
        answer = strip_end(state_dict["action_text"])
        done = self._turn == TURNS
        return {
            "rewards": torch.tensor(animal_share([answer])[0] / TURNS),
            "environment_feedback": "" if done else reply(answer),
            "done": done,
        }


def reply(answer: str) -> str:
    """Return the environment's turn after an answer."""
    other = next((word for word in re.findall(r"[a-z]+", answer) if word not in ANIMALS), None)
    return f" The {other} is none. Name animals:" if other else " Name animals:"


class AgentExecutor(MultiTurnAgentExecutor):  # type: ignore[misc]
    """What OpenRLHF looks for in the file."""

    def __init__(self) -> None:
        super().__init__(NameAnimals)
