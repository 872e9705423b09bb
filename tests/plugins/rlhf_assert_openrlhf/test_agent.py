"""The packaged agent converses in two turns: OpenRLHF's own executor drives it, a scripted engine answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from rlhf_assert_openrlhf import inside
from rlhf_assert_openrlhf.backend import tiny_model
from rlhf_assert_openrlhf.environment import Environment, variables

pytestmark = pytest.mark.training

CONVERSE = """
import asyncio, json, sys
from types import SimpleNamespace
from transformers import AutoTokenizer
from openrlhf.trainer.ray.vllm_engine import _load_agent_executor

agent, model, *answers = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)

class Engine:
    async def generate(self, tokens, parameters, multi_modal_data=None):
        text = answers.pop(0) + tokenizer.eos_token
        output = SimpleNamespace(text=text, token_ids=tokenizer(text)["input_ids"], finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])

parameters = SimpleNamespace(max_tokens=None, logprobs=None)
executor = _load_agent_executor(agent)
said = asyncio.run(executor.execute("Animals of the old sea:", "", parameters, 96, tokenizer, Engine()))
tokens = said["observation_tokens"]
print(json.dumps({
    "text": tokenizer.decode(tokens),
    "turns": [tokenizer.decode(tokens[start:end]) for start, end in said["action_ranges"]],
    "reward": said["reward"],
    "unasked": len(answers),
}))
"""


@pytest.mark.parametrize(
    ("first", "reply"), [(" cat moon fox.", " The moon is none. Name animals:"), (" cat fox.", " Name animals:")]
)
def test_the_agent_replies_to_what_was_said_and_rewards_both_turns(
    installed: Environment, tmp_path: Path, first: str, reply: str
) -> None:
    agent = Path(inside.__file__).parent / "agent.py"
    given = variables(installed, tmp_path, tmp_path / "feed.jsonl")
    words = [installed.python, "-c", CONVERSE, agent, tiny_model(installed), first, " hen lamp.", " never asked"]
    done = subprocess.run(words, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["turns"] == [f"{first}<|im_end|>", " hen lamp.<|im_end|>"]
    assert said["text"] == f"Animals of the old sea:{first}<|im_end|>{reply} hen lamp.<|im_end|>"
    assert said["reward"] == pytest.approx((2 / 3 if "moon" in first else 1.0) / 2 + 0.5 / 2)
    assert said["unasked"] == 1
