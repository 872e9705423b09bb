"""What is seen at an optimizer of torch's, without a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert.recording.events import Update
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import read_run


def updates(path: Path, *, freeze_at: int, warm_up: int) -> list[Any]:
    """Make twelve updates of two tensors, one of which gets no gradient from an update on."""
    import torch

    from rlhf_assert_trl.updates import UpdateWatch

    torch.manual_seed(0)
    tensors = [torch.nn.Parameter(torch.randn(8)) for _ in range(2)]
    optimizer = torch.optim.AdamW(tensors, lr=0.1, weight_decay=0.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / warm_up) if warm_up else 1.0)
    state = SimpleNamespace(global_step=0)
    live = LiveRecording(Recorder(path))
    watch = UpdateWatch(SimpleNamespace(optimizer=optimizer, lr_scheduler=scheduler, state=state), live)
    for update in range(1, 13):
        for index, tensor in enumerate(tensors):
            tensor.grad = None if index and update >= freeze_at else torch.randn(8)
        optimizer.step()
        scheduler.step()
        state.global_step += 1
    watch.close()
    live.finish()
    return [event.stopped for event in read_run(path).events_of(Update)]


@pytest.mark.parametrize("warm_up", [0, 3])
def test_a_tensor_that_stops_is_seen_also_after_a_warm_up_from_0(tmp_path: Path, warm_up: int) -> None:
    assert updates(tmp_path, freeze_at=9, warm_up=warm_up) == [0] * 8 + [1] * 4


def test_a_tensor_that_seldom_moves_does_not_stop(tmp_path: Path) -> None:
    assert updates(tmp_path, freeze_at=2, warm_up=0) == [0] * 12
