"""What has to mean the CPU so that OpenRLHF, which is written for CUDA, trains without a GPU, on few cores.

Each patch says what it changes and why, and checks that its target is the one that it was written for (openrlhf 0.11.2,
vllm 0.29.0): a version that moved it stops the training with one line, before it can go wrong in silence. Nothing of
this is installed where there is CUDA.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rlhf_assert_openrlhf.inside.post_import import after, around, expect_parameters

NO_OPS = ("set_device", "synchronize", "empty_cache", "ipc_collect", "current_stream")


class _CurrentDevice(str):
    """`torch.device` and `Tensor.to` read it as "cpu"; inside `f"cuda:{...}"` it is the number that belongs there."""

    __slots__ = ()

    def __format__(self, specification: str) -> str:
        return format("0", specification)


@after("torch")
def torch_cuda(torch: Any) -> None:
    """`torch.cuda`'s calls do nothing: OpenRLHF asks for a device, synchronises and frees memory without asking first.

    Each is a function of its own, since dynamo refuses one object under two names. `get_device_properties` stays as it
    is: inductor believes what it says.
    """

    def current_device() -> str:
        return _CurrentDevice("cpu")

    torch.cuda.current_device = current_device
    for name in NO_OPS:
        setattr(torch.cuda, name, _no_op(name))


def _no_op(name: str) -> Callable[..., None]:
    def nothing(*_: Any, **__: Any) -> None:
        return None

    nothing.__name__ = nothing.__qualname__ = name
    return nothing


@after("openrlhf.utils.deepspeed.deepspeed")
def device_mesh(module: Any) -> None:
    """DeepspeedStrategy builds its mesh of ranks on the CPU, where it names "cuda"; the average of weights as well."""
    original = module.init_device_mesh
    average = module.DeepspeedStrategy.moving_average
    expect_parameters(average, "self", "model", "model_ema", "beta", "device")

    def init_device_mesh(_: str, *args: Any, **kwargs: Any) -> Any:
        return original("cpu", *args, **kwargs)

    def moving_average(self: Any, model: Any, model_ema: Any, beta: float = 0.992, device: str = "cpu") -> None:
        del device
        average(self, model, model_ema, beta, "cpu")

    module.init_device_mesh = init_device_mesh
    module.DeepspeedStrategy.moving_average = moving_average


@around("openrlhf.models.ring_attn_utils")
def flash_attention() -> Iterator[None]:
    """Padding helpers of flash_attn in plain PyTorch: OpenRLHF imports them whether it packs samples or not.

    They are visible to this one import only: transformers, peft and vLLM probe for flash_attn and would use it.
    """
    import torch
    import transformers  # noqa: F401 - so that it cannot be imported, and probe, while the stand-ins are there
    from einops import rearrange
    from torch.distributed import nn

    def index_first_axis(values: Any, indices: Any) -> Any:
        return values[indices]

    def unpad_input(hidden: Any, attention_mask: Any) -> Any:
        lengths = attention_mask.sum(dim=-1, dtype=torch.int32)
        indices = torch.nonzero(attention_mask.flatten(), as_tuple=False).flatten()
        ends = torch.nn.functional.pad(torch.cumsum(lengths, dim=0, dtype=torch.int32), (1, 0))
        return rearrange(hidden, "b s ... -> (b s) ...")[indices], indices, ends, int(lengths.max()), lengths

    def pad_input(hidden: Any, indices: Any, batch: int, length: int) -> Any:
        padded = torch.zeros(batch * length, *hidden.shape[1:], device=hidden.device, dtype=hidden.dtype)
        return rearrange(padded.index_put((indices,), hidden), "(b s) ... -> b s ...", b=batch)

    def all_gather(tensor: Any, group: Any) -> Any:
        return torch.cat(nn.functional.all_gather(tensor, group=group), dim=0)

    padding = SimpleNamespace(
        index_first_axis=index_first_axis, unpad_input=unpad_input, pad_input=pad_input, rearrange=rearrange
    )
    stand_ins: dict[str, Any] = {
        "flash_attn": SimpleNamespace(__path__=[]),
        "flash_attn.bert_padding": padding,
        "flash_attn.utils": SimpleNamespace(__path__=[]),
        "flash_attn.utils.distributed": SimpleNamespace(all_gather=all_gather),
    }
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


@after("openrlhf.utils.distributed_util")
def weight_sync(module: Any) -> None:
    """The group through which the trainer sends weights to the engines is gloo's, where OpenRLHF takes NCCL."""
    expect_parameters(
        module.stateless_init_process_group, "master_address", "master_port", "rank", "world_size", "device"
    )

    def stateless_init_process_group(address: str, port: int, rank: int, world_size: int, device: Any) -> Any:
        del device
        from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore

        timeout = timedelta(minutes=5)
        store = TCPStore(address, port, world_size, is_master=rank == 0, timeout=timeout)
        group = ProcessGroupGloo(PrefixStore("rlhf-assert-weight-sync", store), rank, world_size, timeout)

        def broadcast(tensor: Any, src: int, stream: Any = None) -> None:
            del stream
            group.broadcast(tensor, src).wait()

        return SimpleNamespace(broadcast=broadcast, store=store)

    module.stateless_init_process_group = stateless_init_process_group


@after("openrlhf.trainer.ray.vllm_worker_wrap")
def weight_update(module: Any) -> None:
    """An engine receives weights in a buffer on the CPU, where OpenRLHF allocates it on "cuda"."""
    original = module.WorkerWrap.update_weight
    expect_parameters(original, "self", "name", "dtype", "shape", "empty_cache")

    def update_weight(self: Any, name: str, dtype: Any, shape: Any, empty_cache: bool = False) -> None:  # noqa: FBT001, FBT002
        from torch.overrides import TorchFunctionMode

        class CUDAMeansCPU(TorchFunctionMode):  # type: ignore[misc]
            def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
                if kwargs and kwargs.get("device") == "cuda":
                    kwargs = {**kwargs, "device": "cpu"}
                return function(*args, **(kwargs or {}))

        with CUDAMeansCPU():
            original(self, name, dtype, shape, empty_cache)

    module.WorkerWrap.update_weight = update_weight


@after("openrlhf.trainer.ppo_utils.replay_buffer")
def replay_buffer(module: Any) -> None:
    """Batches are taken from the buffer to the CPU, where OpenRLHF takes them to the current CUDA device."""
    original = module.NaiveReplayBuffer.__init__
    expect_parameters(original, "self", "sample_batch_size", "limit", "cpu_offload", "packing_samples", "dynamic_batch")

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.target_device = importlib.import_module("torch").device("cpu")

    module.NaiveReplayBuffer.__init__ = initialise


@after("vllm.model_executor.layers.utils")
def linear_layers(module: Any) -> None:
    """The engine keeps linear layers' weights as they are: packed for the CPU, a weight sync has no target."""
    expect_parameters(module.dispatch_cpu_unquantized_gemm, "layer", "remove_weight")

    def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:  # noqa: FBT001
        del remove_weight
        from torch.nn.functional import linear

        layer.cpu_linear = linear

    module.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm


@after("ray._private.worker")
def dashboard(module: Any) -> None:
    """A Ray of its own starts without its dashboard: ten processes, each as busy at its start as a worker is.

    Their modules must be up within 30 s, which two cores that start a training do not always leave them. The state of
    Ray and its metrics pages are there without it.
    """
    original = module.init
    if "include_dashboard" not in inspect.signature(original).parameters:
        expect_parameters(original, "address", "include_dashboard")

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{"include_dashboard": False, **kwargs})

    module.init = init


@after("torch.utils.cpp_extension")
def operators(module: Any) -> None:
    """DeepSpeed's operators are taken as `operators.build` left them, where torch would compare how it builds them now.

    The compiler's flags follow from a look at the processor that comes out otherwise on a busy machine: then every
    process of a training builds them again, for minutes, in the folder that the others load them from.
    """
    original, take = module.load, module._import_module_from_library  # noqa: SLF001 - what `load` ends with
    expect_parameters(take, "module_name", "path", "is_python_module")

    def load(name: str, *args: Any, **kwargs: Any) -> Any:
        folder = Path(os.environ.get("TORCH_EXTENSIONS_DIR", "")) / name
        if (folder / f"{name}.so").is_file():
            return take(name, str(folder), is_python_module=True)
        return original(name, *args, **kwargs)

    module.load = load


PATCHES = (
    dashboard,
    operators,
    torch_cuda,
    device_mesh,
    flash_attention,
    weight_sync,
    weight_update,
    replay_buffer,
    linear_layers,
)
