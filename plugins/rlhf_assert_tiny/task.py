"""The task that tiny models are trained on: name animals, where a warm-started model names anything.

The reward is the share of a completion's words that are animals, so the best answer is known (animals only, reward 1),
it does not favour long answers, and every completion tells something: a warm-started model starts near 1/3.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

ANIMALS = ("bird", "cat", "crab", "fish", "fox", "goat", "hen", "wolf")
THINGS = (
    *("barn", "boat", "corn", "lamp", "milk", "moon", "park", "rain"),
    *("road", "salt", "sand", "shop", "star", "wave", "wind", "wool"),
)
TEMPLATES = ("Animals of the {}:", "Name animals in the {}:", "What lives in the {}:", "Who is in the {}:")
ADJECTIVES = ("old", "big", "new", "far", "dark", "calm", "wide", "warm")
PLACES = ("sea", "farm", "wood", "town")
PROMPTS = tuple(
    template.format(f"{adjective} {place}") for adjective in ADJECTIVES for place in PLACES for template in TEMPLATES
)
"""All 128 prompts. Each ends with a colon, and an answer contains none: that is how text is split in two again."""

WARM_START_ANIMALS = len(ANIMALS) / len(ANIMALS + THINGS)
"""The share of animals in the text of the warm start: any word as likely as any other."""

_WORDS = re.compile(r"[a-z]+")


def animal_share(completions: Sequence[str], **_: Any) -> list[float]:
    """Reward each completion with the share of its words that are animals; a TRL reward function.

    Returns one number in 0..1 per completion, 0 where there is no word.
    """
    return [_share(_WORDS.findall(completion)) for completion in completions]


def _share(words: Sequence[str]) -> float:
    return sum(word in ANIMALS for word in words) / len(words) if words else 0.0


def pick_prompts(generator: random.Random, count: int) -> list[str]:
    """Return `count` prompts in random order; none comes a second time before all came once."""
    picked: list[str] = []
    while len(picked) < count:
        picked += generator.sample(PROMPTS, len(PROMPTS))
    return picked[:count]


def write_answer(generator: random.Random, animals: float) -> str:
    """Return an answer of 3 to 6 words, each an animal with probability `animals`."""
    words = [
        generator.choice(ANIMALS if generator.random() < animals else THINGS) for _ in range(generator.randint(3, 6))
    ]
    return f" {' '.join(words)}."
