"""The patches that make OpenRLHF mean the CPU: each does what it says, and refuses a target that moved."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_assert_openrlhf.environment import Environment, variables

MOVED = {
    "ray/_private/worker.py": "def init(address=None): ...",
    "openrlhf/utils/distributed_util.py": "def stateless_init_process_group(host, port): ...",
    "openrlhf/trainer/ray/vllm_worker_wrap.py": "class WorkerWrap:\n    def update_weight(self, name): ...",
    "openrlhf/trainer/ppo_utils/replay_buffer.py": "class NaiveReplayBuffer:\n    def __init__(self, size): ...",
    "openrlhf/utils/deepspeed/deepspeed.py": "init_device_mesh = print\nclass DeepspeedStrategy:\n"
    "    def moving_average(self, model): ...",
    "vllm/model_executor/layers/utils.py": "def dispatch_cpu_unquantized_gemm(layer): ...",
}


@pytest.mark.parametrize("file", MOVED)
def test_a_target_that_moved_stops_the_training_with_one_line(tmp_path: Path, file: str) -> None:
    target = tmp_path / file
    target.parent.mkdir(parents=True)
    target.write_text(MOVED[file])
    module = file.removesuffix(".py").replace("/", ".")
    code = (
        f"from rlhf_assert_openrlhf.inside import cpu, post_import\npost_import.install(*cpu.PATCHES)\nimport {module}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: rlhf-assert cannot adapt {module}.")
    assert "install those versions" in done.stderr.splitlines()[-1]


INSIDE = """
import sys, types, torch

device = torch.cuda.current_device()
assert torch.zeros(1, device=device).device.type == "cpu"
assert str(torch.device(f"cuda:{device}")) == "cuda:0"
assert torch.cuda.synchronize() is None and torch.cuda.synchronize is not torch.cuda.empty_cache

from openrlhf.models import ring_attn_utils
assert "flash_attn" not in sys.modules
tokens = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])
mask = (tokens > 0).long()
flat, positions, following, padding, indices = ring_attn_utils.unpad_and_slice_tensor(tokens, mask, None)
assert flat.tolist() == [[1, 2, 3, 4, 5]] and positions.tolist() == [[0, 1, 2, 0, 1]], (flat, positions)
assert following.tolist() == [[2, 3, 0, 5, 0]], following
again = ring_attn_utils.gather_and_pad_tensor(flat, None, padding, indices, 2, 4)
assert again.tolist() == tokens.tolist(), again

from openrlhf.trainer.ppo_utils.replay_buffer import NaiveReplayBuffer
assert NaiveReplayBuffer(2).target_device == torch.device("cpu")

from openrlhf.trainer.ray.vllm_worker_wrap import WorkerWrap
torch.distributed.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
loaded = []
model = types.SimpleNamespace(load_weights=lambda weights: loaded.extend(weights))
worker = types.SimpleNamespace(
    model_config=types.SimpleNamespace(dtype=torch.bfloat16),
    _model_update_with_ray=False,
    _model_update_group=types.SimpleNamespace(broadcast=lambda weight, src, stream: weight.fill_(7)),
    model_runner=types.SimpleNamespace(model=model),
)
WorkerWrap.update_weight(worker, "a.weight", torch.bfloat16, (2, 2))
assert loaded[0][0] == "a.weight" and loaded[0][1].device.type == "cpu" and loaded[0][1].sum() == 28

from openrlhf.utils.distributed_util import stateless_init_process_group
import socket
with socket.socket() as probe:
    probe.bind(("", 0))
    port = probe.getsockname()[1]
group = stateless_init_process_group("127.0.0.1", port, 0, 1, None)
weight = torch.ones(3)
group.broadcast(weight, src=0, stream=None)
assert weight.tolist() == [1, 1, 1]

from torch.utils import cpp_extension
built = cpp_extension.load("fused_adam", sources=["there is no such file"])
assert callable(built.multi_tensor_adam), dir(built)

from vllm.model_executor.layers import utils
layer = torch.nn.Linear(2, 2)
before = layer.weight.data_ptr()
utils.dispatch_cpu_unquantized_gemm(layer, True)
assert layer.cpu_linear is torch.nn.functional.linear and layer.weight.data_ptr() == before
print("all patches hold")
"""


@pytest.mark.training
def test_every_patch_holds_in_the_installed_openrlhf(installed: Environment, tmp_path: Path) -> None:
    if not installed.on_cpu:
        pytest.skip("this OpenRLHF has CUDA: nothing is patched")
    given = variables(installed, tmp_path, tmp_path / "feed.jsonl")
    done = subprocess.run([installed.python, "-c", INSIDE], env=given, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["all patches hold"], done.stderr[-3000:]
