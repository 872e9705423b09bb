from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlhf_assert.errors import RecordingError, UsageError
from rlhf_assert_tiny import task, tiny

pytestmark = pytest.mark.training
BUILD = "import torch; torch.set_num_threads(1)\nfrom rlhf_assert_tiny import tiny\nprint(tiny.warm_start())"


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_a_warm_started_model_ends_its_answers_and_names_anything(one_thread: None, architecture: Any) -> None:
    import torch

    model, tokenizer = tiny.load_policy(architecture), tiny.load_tokenizer(architecture)
    prompts = tokenizer(list(task.PROMPTS), return_tensors="pt", padding=True)
    torch.manual_seed(0)
    tokens = model.generate(
        input_ids=prompts["input_ids"], attention_mask=prompts["attention_mask"], max_new_tokens=32, do_sample=True
    )[:, prompts["input_ids"].shape[1] :]
    answers = tokenizer.batch_decode(tokens, skip_special_tokens=True)

    assert 90_000 < sum(parameter.numel() for parameter in model.parameters()) < 105_000
    assert Path(model.config._name_or_path).is_dir()
    assert (tokens == tokenizer.eos_token_id).any(1).float().mean() > 0.95
    assert 0.2 < sum(task.animal_share(answers)) / len(answers) < 0.5


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
@pytest.mark.parametrize("text", ["Animals of the old sea: cat fish.", "Grüße,  世界\n\t🦊"])
def test_the_loaded_tokenizer_is_the_one_that_was_built(one_thread: None, architecture: Any, text: str) -> None:
    loaded, built = tiny.load_tokenizer(architecture), tiny.build_tokenizer()

    assert len(loaded) == len(built) == tiny.RECIPE["vocabulary"]
    assert loaded(text)["input_ids"] == built(text)["input_ids"]
    assert loaded.decode(loaded(text)["input_ids"]) == text
    assert (loaded.pad_token, loaded.eos_token) == (tiny.PAD, tiny.END)


def test_two_processes_build_one_cache_entry(tmp_path: Path) -> None:
    environment = {**os.environ, "RLHF_ASSERT_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", BUILD], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = {process.communicate(timeout=120)[0].strip() for process in both}

    (folder,) = folders
    assert (Path(folder) / "model.safetensors").is_file()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == [Path(folder).name]


def test_building_leaves_the_callers_random_numbers_alone(
    one_thread: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setenv("RLHF_ASSERT_CACHE", str(tmp_path))
    before = torch.random.get_rng_state()
    tiny.warm_start.__wrapped__("llama")

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RLHF_ASSERT_CACHE", str(tmp_path / "file"))

    with pytest.raises(RecordingError, match="set RLHF_ASSERT_CACHE") as caught:
        tiny.warm_start.__wrapped__("qwen2")
    assert "\n" not in str(caught.value)


def test_an_unknown_architecture_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match=r"did you mean qwen2\?"):
        tiny.warm_start("qwen")  # type: ignore[arg-type]


def test_the_best_answer_is_known() -> None:
    best, mixed, worst, none = " cat fox hen.", " cat lamp.", " lamp road.", "..."
    assert task.animal_share([best, mixed, worst, none]) == [1.0, 0.5, 0.0, 0.0]
    assert task.animal_share([best * 5]) == [1.0]
