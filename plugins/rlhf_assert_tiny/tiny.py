"""Tiny models and their tokenizer: built on the spot without a hub, warm-started once, cached.

A randomly initialised model never ends a completion, so a short supervised training comes first: it is what makes
lengths, truncation and rewards of a tiny run resemble those of a real one.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock

from rlhf_assert.errors import RecordingError, UsageError, suggest
from rlhf_assert_tiny import task
from rlhf_assert_tiny.task import PROMPTS, WARM_START_ANIMALS, pick_prompts, write_answer

Architecture = Literal["qwen2", "llama", "qwen2-wide-heads"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
PAD, END = "<|endoftext|>", "<|im_end|>"
"""The names that Qwen2's own tokenizer class gives them: with others it would add its own, beyond the vocabulary."""
RECIPE: dict[str, Any] = {
    "seed": 0,
    "steps": 150,
    "batch": 16,
    "learning_rate": 5e-3,
    "vocabulary": 352,
    "animals": WARM_START_ANIMALS,
    "config": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
}
"""What decides the weights, beside the code here and in `task` and the versions of torch, transformers, tokenizers."""
WIDE_HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
"""Heads of 32 numbers, the narrowest that vLLM's attention takes on a CPU."""


def cache_folder() -> Path:
    """Return the folder of cached models: `RLHF_ASSERT_CACHE`, or `~/.cache/rlhf-assert`."""
    given = os.environ.get("RLHF_ASSERT_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "rlhf-assert"


@cache
def warm_start(architecture: Architecture = "qwen2") -> Path:
    """Return the folder of a warm-started model and its tokenizer, built by the first caller on this machine.

    The folder appears in one rename, so a process never sees half of it, and a lock lets only one process build.

    Raises:
        UsageError: an architecture that is not in `ARCHITECTURES`.
        RecordingError: the cache folder cannot be written.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UsageError(f"unknown architecture {architecture}{suggest(architecture, ARCHITECTURES)}; known: {known}")
    folder = cache_folder()
    target = folder / f"{architecture}-{_cache_key()}"
    if target.is_dir():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{target.name}.lock"):
            if not target.is_dir():
                _build(architecture, target)
    except OSError as error:
        raise RecordingError(
            f"{folder}: cannot cache the tiny models: {error.strerror}: set RLHF_ASSERT_CACHE to a folder with space"
        ) from error
    return target


def _cache_key() -> str:
    digest = hashlib.sha256(" ".join(version(name) for name in ("torch", "transformers", "tokenizers")).encode())
    for module in (Path(__file__), Path(task.__file__)):
        digest.update(module.read_bytes())
    return digest.hexdigest()[:16]


def _build(architecture: Architecture, target: Path) -> None:
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        tokenizer = build_tokenizer()
        model = build_model(architecture, tokenizer)
        train_supervised(model, tokenizer)
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        draft.chmod(0o755)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def build_tokenizer() -> Any:
    """Train a byte-level BPE tokenizer on the task's own text: any text can be encoded, task words are short."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    generator = random.Random(RECIPE["seed"])  # noqa: S311 - data, no secret
    corpus = [prompt + write_answer(generator, 0.5) for prompt in PROMPTS for _ in range(4)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=RECIPE["vocabulary"],
            special_tokens=[PAD, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        padding_side="left",
        model_max_length=RECIPE["config"]["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )


def build_model(architecture: Architecture, tokenizer: Any) -> Any:
    """Build a causal language model of about 97,000 parameters with random weights, always the same ones."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    model_class, config_class, changes = {
        "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
        "llama": (LlamaForCausalLM, LlamaConfig, {}),
        "qwen2-wide-heads": (Qwen2ForCausalLM, Qwen2Config, WIDE_HEADS),
    }[architecture]
    config = config_class(
        **{**RECIPE["config"], **changes},
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):  # whether the cache was hit must not change the caller's random numbers
        torch.manual_seed(RECIPE["seed"])
        return model_class(config).to(torch.float32)


def train_supervised(model: Any, tokenizer: Any) -> None:
    """Teach the model the form of an answer, in place; plain torch: a `TrainingArguments` has global effects."""
    import torch

    generator = random.Random(RECIPE["seed"])  # noqa: S311 - data, no secret
    steps = RECIPE["steps"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=RECIPE["learning_rate"], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RECIPE["learning_rate"], total_steps=steps)
    model.train()
    for _ in range(steps):
        texts = [
            prompt + write_answer(generator, RECIPE["animals"]) + END
            for prompt in pick_prompts(generator, RECIPE["batch"])
        ]
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def load_tokenizer(architecture: Architecture = "qwen2") -> Any:
    """Load the tokenizer of the tiny models."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(warm_start(architecture))


def load_policy(architecture: Architecture = "qwen2") -> Any:
    """Load a warm-started causal language model from its local folder, as `model.config._name_or_path` says."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(warm_start(architecture), dtype="float32")


def load_scorer(architecture: Architecture = "qwen2") -> Any:
    """Load the warm-started model with a new head of one number: a value model, or a reward model to train."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(warm_start(architecture), num_labels=1, dtype="float32")
