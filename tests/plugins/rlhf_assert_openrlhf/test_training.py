"""What a scenario gives becomes files and flags; the reward function sees what TRL's would."""

from __future__ import annotations

import json
import os
import runpy
from pathlib import Path

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert_openrlhf.inside.reward import adapt, strip_end
from rlhf_assert_openrlhf.training import OpenRLHFTraining, materialise

REWARD = "def count(prompts, completions, labels):\n    return [len(text.split()) for text in completions]\n"


def first_letter(completions: list[str], **_: object) -> list[float]:
    return [float(text.strip().startswith("a")) for text in completions]


def test_prompts_become_a_file_that_the_flags_name(tmp_path: Path) -> None:
    training = OpenRLHFTraining(prompts=[{"input": "a"}, {"input": "b", "label": "c"}], flags={"train.seed": 1})
    flags = materialise(training, tmp_path)
    assert flags["train.seed"] == 1
    rows = [json.loads(line) for line in Path(flags["data.prompt_dataset"]).read_text().splitlines()]
    assert rows == [{"label": "", "input": "a"}, {"label": "c", "input": "b"}]
    assert training.flags == {"train.seed": 1}


def test_a_row_without_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no `input`"):
        materialise(OpenRLHFTraining(prompts=[{"prompt": "a"}]), tmp_path)


PAIR = {"prompt": "p", "chosen": "c", "rejected": "r"}


@pytest.mark.parametrize(
    ("command", "row"),
    [("train_sft", {"input": "p", "output": "a"}), ("train_rm", PAIR), ("train_dpo", PAIR)],
)
def test_rows_become_files_whose_columns_the_flags_name(tmp_path: Path, command: str, row: dict[str, str]) -> None:
    flags = materialise(OpenRLHFTraining(entry_point=command, data=[row, row], evaluation=[row]), tmp_path)
    for flag, count in (("data.dataset", 2), ("eval.dataset", 1)):
        assert [json.loads(line) for line in Path(flags[flag]).read_text().splitlines()] == [row] * count
    assert flags["eval.split"] == "train"
    assert {flags[name] for name in flags if name.endswith("_key")} == set(row)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (OpenRLHFTraining(entry_point="train_dpo", prompts=[{"input": "a"}]), "train_dpo takes no prompts=: .* data="),
        (OpenRLHFTraining(data=[PAIR]), "train_ppo_ray takes no data=: .* prompts="),
        (OpenRLHFTraining(entry_point="train_rm", data=[{"prompt": "a", "chosen": "b"}]), "data has no `rejected`"),
        (OpenRLHFTraining(entry_point="train_sft", evaluation=[{"input": "a"}]), "evaluation has no `output`"),
    ],
)
def test_rows_that_a_command_does_not_take_are_refused(tmp_path: Path, training: OpenRLHFTraining, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        materialise(training, tmp_path)


def test_a_reward_file_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").touch()
    flags = materialise(OpenRLHFTraining(reward=tmp_path / "mine.py"), tmp_path)
    assert flags == {"reward.remote_url": str(tmp_path / "mine.py")}
    with pytest.raises(UsageError, match=r"none\.py: no such reward file"):
        materialise(OpenRLHFTraining(reward=tmp_path / "none.py"), tmp_path)


def test_a_reward_function_sees_completions(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    flags = materialise(OpenRLHFTraining(reward=first_letter), tmp_path)
    reward_func = runpy.run_path(flags["reward.remote_url"])["reward_func"]
    said = reward_func(["Say: a cat<|im_end|>", "Say: the cat"], ["Say:", "Say:"], ["", ""])
    assert said["rewards"].tolist() == said["scores"].tolist() == [1.0, 0.0]


def test_a_reward_function_gets_prompts_and_labels_by_name(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "mine.py").write_text(REWARD)
    assert adapt(str(tmp_path / "mine.py"), "count")(["p one two"], ["p"], [""])["rewards"].tolist() == [2.0]


@pytest.mark.parametrize("reward", [lambda **_: [1.0], len, type("Callable", (), {"__call__": lambda _: [1.0]})()])
def test_a_function_that_other_processes_cannot_import_is_refused(tmp_path: Path, reward: object) -> None:
    with pytest.raises(UsageError, match="top level of a module"):
        materialise(OpenRLHFTraining(reward=reward), tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "stripped"),
    [(" cat.<|im_end|>", " cat."), (" a<|im_end|><|endoftext|>", " a"), (" a |>", " a |>"), ("", "")],
)
def test_special_tokens_at_the_end_are_no_completion(text: str, stripped: str) -> None:
    assert strip_end(text) == stripped


def test_the_working_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    flags = materialise(OpenRLHFTraining(reward=Path("mine.py")), tmp_path)
    assert os.path.isabs(flags["reward.remote_url"])  # noqa: PTH117
