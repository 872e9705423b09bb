from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_assert.recording.run import read_run

SCRIPT = """
import sys
from pathlib import Path

import torch
import transformers

torch.set_num_threads(1)
from trl import GRPOConfig, GRPOTrainer

from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert_trl import HealthCallback
from rlhf_assert_trl.context import Context

folder, stop_at = Path(sys.argv[1]), int(sys.argv[2])


class Stop:
    name = "stop"

    def update(self, step, metrics):
        anomaly = Anomaly(kind="stop", metric="loss", severity=Severity.critical, onset=step, summary="enough")
        return [anomaly] if step == stop_at else []


transformers.set_seed(0)
ctx = Context(seed=0, steps=4, output_dir=folder / "checkpoints")
trainer = GRPOTrainer(
    model=ctx.tiny_model(),
    processing_class=ctx.tokenizer,
    reward_funcs=ctx.reward_function,
    train_dataset=ctx.prompts(32),
    args=GRPOConfig(
        **ctx.training_arguments(), per_device_train_batch_size=8, num_generations=4, max_completion_length=16,
        learning_rate=1e-3, beta=0.04,
    ),
)
trainer.add_callback(HealthCallback(folder / "run", stop_on="critical", detectors=[Stop()]))
trainer.train()
print("rank", trainer.args.process_index, "ended at", trainer.state.global_step)
"""


@pytest.mark.training
@pytest.mark.alone
@pytest.mark.parametrize(("stop_at", "steps"), [(0, 4), (2, 2)])
def test_two_processes_record_one_run(tmp_path: Path, stop_at: int, steps: int) -> None:
    """Rank 0 writes rows, samples and events; each rank its resources; a stop reaches both, or this test hangs."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*torchrun, str(script), str(tmp_path), str(stop_at)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert all(f"rank {rank} ended at {steps}" in ended.stdout for rank in (0, 1))

    run = read_run(tmp_path / "run")
    assert run.status == ("stopped" if stop_at else "completed")
    assert [row.step for row in run.rows] == list(range(1, steps + 1))
    assert {sample["rank"] for sample in run.resources} == {0, 1}
    files = {path.name for path in run.path.glob("*.jsonl")}
    assert files == {"metrics.jsonl", "samples.jsonl", "events.jsonl", "resources.jsonl", "resources.rank1.jsonl"}
    first = run.samples.step == 1
    assert first.sum() == 16  # both ranks' rewards; token data of this rank's
    assert run.samples.reward[first].mean() == pytest.approx(run["reward"].first, rel=1e-4)
    assert (run.samples.logprob[first] == run.samples.logprob[first]).sum() == 8
