"""Which faults a training of OpenRLHF can have, and what a hook of each does to the class that it is on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert.errors import UsageError
from rlhf_assert.training.fault_kinds import FAULTS
from rlhf_assert.training.faults import make_fault
from rlhf_assert_openrlhf.backend import BACKEND
from rlhf_assert_openrlhf.injection import asked_for
from rlhf_assert_openrlhf.inside import faults
from rlhf_assert_openrlhf.training import OpenRLHFTraining

SETTINGS = {"algo.kl.init_coef": 0.02, "vllm.num_engines": 1, "ds.zero_stage": 2, "critic.model_name_or_path": "there"}


def test_every_fault_is_one_of_the_vocabulary() -> None:
    assert set(BACKEND.faults) <= set(FAULTS)


@pytest.mark.parametrize("kind", sorted(BACKEND.faults))
def test_the_processes_are_told_of_a_fault_that_applies(kind: str) -> None:
    fault = make_fault(kind)
    told = asked_for(fault, OpenRLHFTraining(), SETTINGS)["RLHF_ASSERT_FAULT"]
    assert len(faults.hooks(told)) == 2
    assert asked_for(None, OpenRLHFTraining(), SETTINGS) == {}


@pytest.mark.parametrize(
    ("kind", "given", "changed", "said"),
    [
        ("reward_nan", {"entry_point": "train_dpo"}, {}, "it breaks train_ppo_ray, this is train_dpo"),
        ("reward_nan", {"resume_after": 3}, {}, "interrupted and resumed"),
        ("reference_noised", {}, {"algo.kl.init_coef": 0.0}, "no reference model"),
        ("critic_learning_rate_spike", {}, {"critic.model_name_or_path": None}, "no critic"),
        ("engine_killed", {}, {"vllm.num_engines": None}, "no engine"),
        ("rollout_weights_stale", {}, {"ds.zero_stage": 3}, "ZeRO-3"),
    ],
)
def test_a_fault_that_does_not_apply_is_refused_with_the_reason(
    kind: str, given: dict[str, Any], changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        asked_for(make_fault(kind), OpenRLHFTraining(**given), SETTINGS | changed)
    assert str(caught.value).startswith(f"fault {kind} does not apply: ")
    assert "\n" not in str(caught.value)


@pytest.fixture
def at_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that says which step is made."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def set_to(step: int) -> None:
        (tmp_path / "fault-steps").write_bytes(b"." * step)

    return set_to


def install(text: str, **classes: Any) -> None:
    """Put the hook of a fault on classes made for it."""
    import sys

    hook = faults.hooks(text)[1]
    module = SimpleNamespace(**classes)
    sys.modules[hook.module] = module  # type: ignore[assignment]
    try:
        with hook.surround():
            pass
    finally:
        del sys.modules[hook.module]


def test_before_the_first_step_there_is_none(at_step: Any) -> None:
    assert faults.step() == 0
    at_step(3)
    assert faults.step() == 3


def test_a_learning_rate_is_changed_for_one_step_and_given_back(at_step: Any) -> None:
    applied = []

    class Strategy:
        def optimizer_step(
            self, _optimizer: Any, model: Any, _scheduler: Any, name: str = "model", **kwargs: Any
        ) -> None:
            applied.append((name, _optimizer.param_groups[0]["lr"]))

    install("learning_rate_spike@2x1000", DeepspeedStrategy=Strategy)
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.5}])
    for step in (1, 2, 3):
        at_step(step)
        for name in ("actor", "critic"):
            Strategy().optimizer_step(optimizer, None, None, name=name)
    assert applied == [
        (name, 500.0 if (name, step) == ("actor", 2) else 0.5) for step in (1, 2, 3) for name in ("actor", "critic")
    ]
    assert optimizer.param_groups == [{"lr": 0.5}]


def test_a_sampling_setting_is_changed_from_its_onset_on(at_step: Any) -> None:
    seen = []

    class Generator:
        def generate_samples(self, **generate_kwargs: Any) -> None:
            seen.append(generate_kwargs["temperature"])

    install("temperature_mismatch@3x2", SamplesGenerator=Generator)
    for step in range(4):  # the completions of a step are asked for in the step before it
        at_step(step)
        Generator().generate_samples(temperature=1.0)
    assert seen == [1.0, 1.0, 2.0, 2.0]


def test_a_coefficient_is_changed_once(at_step: Any) -> None:
    class Maker:
        kl_ctl = SimpleNamespace(value=0.5)

        def make_experience(self, samples_list: Any) -> float:
            return self.kl_ctl.value

    install("kl_coefficient_wrong@2x0", RemoteExperienceMaker=Maker)
    coefficients = []
    for step in (1, 2, 3):
        at_step(step)
        coefficients.append(Maker().make_experience(None))
    assert coefficients == [0.5, 0.0, 0.0]


def test_rewards_are_changed_where_they_are_complete(at_step: Any) -> None:
    torch = pytest.importorskip("torch")

    class Maker:
        def compute_advantages_and_returns(self, experiences: Any) -> Any:
            return experiences

    install("reward_length@2x10", RemoteExperienceMaker=Maker)

    def batch() -> list[Any]:
        rewards = torch.tensor([1.0, 2.0])
        return [SimpleNamespace(rewards=rewards, response_length=torch.tensor([3, 4]), info={"reward": rewards})] * 1

    at_step(1)
    assert Maker().compute_advantages_and_returns(batch())[0].rewards.tolist() == [1.0, 2.0]
    at_step(2)
    (changed,) = Maker().compute_advantages_and_returns(batch())
    assert changed.rewards.tolist() == changed.info["reward"].tolist() == [31.0, 42.0]


def test_what_is_sent_is_as_old_as_the_fault_says_and_what_is_trained_stays(at_step: Any) -> None:
    torch = pytest.importorskip("torch")
    sent = []

    class Trainer:
        def __init__(self) -> None:
            self.layer = torch.nn.Linear(1, 1, bias=False)
            self.layer.weight.data.fill_(0.0)
            self.actor = SimpleNamespace(model=SimpleNamespace(module=self.layer))

        def ppo_train(self, kl_ctl: float) -> None:
            self.layer.weight.data.add_(1.0)

        def broadcast_to_vllm(self) -> None:
            sent.append(self.layer.weight.item())

    install("rollout_weights_stale@4x2", ActorPPOTrainer=Trainer)
    trainer = Trainer()
    trainer.broadcast_to_vllm()  # as when a training resumes
    for step in range(1, 6):
        at_step(step)
        trainer.ppo_train(0.0)
        trainer.broadcast_to_vllm()
    # Step 4 is the first that is to be generated with what was there 2 steps before.
    assert sent == [0.0, 1.0, 2.0, 1.0, 2.0, 3.0]
    assert trainer.layer.weight.item() == 5.0


def test_a_reference_is_changed_once_and_no_other_model(at_step: Any) -> None:
    torch = pytest.importorskip("torch")

    class Actor(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x).abs().sum().item()

    class Strategy:
        def _ds_init_train_model(self, model: Any, cfg: Any) -> Any:
            return model

        def _ds_init_eval_model(self, model: Any) -> Any:
            return model

    install("reference_zeroed@2", DeepspeedStrategy=Strategy, Actor=Actor)
    strategy = Strategy()
    reference = strategy._ds_init_eval_model(Actor())
    reward_model = strategy._ds_init_eval_model(torch.nn.Linear(2, 2))
    strategy._ds_init_train_model(Actor(), {})
    average = strategy._ds_init_eval_model(Actor())
    ones = torch.ones(2)
    at_step(1)
    assert reference(ones) > 0.0
    at_step(2)
    assert reference(ones) == 0.0
    assert reward_model(ones).abs().sum() > 0.0
    assert average(ones) > 0.0


def test_a_checkpoint_is_cut_off_and_the_last_model_is_not(at_step: Any, tmp_path: Path) -> None:
    class Strategy:
        def save_model(self, model: Any, tokenizer: Any, output_dir: Any, **kwargs: Any) -> None:
            Path(output_dir).mkdir(exist_ok=True)
            (Path(output_dir) / "model.safetensors").write_bytes(b"weights!")

        def is_rank_0(self) -> bool:
            return True

    install("checkpoint_truncated@3x0.5", DeepspeedStrategy=Strategy)
    for step, name in ((2, "global_step2_hf"), (4, "global_step4_hf"), (4, "final")):
        at_step(step)
        Strategy().save_model(None, None, tmp_path / name)
    sizes = {file.parent.name: file.stat().st_size for file in tmp_path.glob("*/model.safetensors")}
    assert sizes == {"global_step2_hf": 8, "global_step4_hf": 4, "final": 8}


def test_a_version_that_moved_a_target_is_refused() -> None:
    class Generator:
        def generate_samples(self, prompts: Any) -> None: ...

    with pytest.raises(ImportError, match=r"takes \(self, prompts\)"):
        install("temperature_mismatch@3x2", SamplesGenerator=Generator)
