from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_assert_tiny.reference import ELEMENTS, reference_fingerprint

pytestmark = pytest.mark.training


def test_a_trainer_without_a_reference_has_no_fingerprint() -> None:
    assert reference_fingerprint(SimpleNamespace(ref_model=None)) is None
    assert reference_fingerprint(SimpleNamespace()) is None


@pytest.mark.parametrize("size", [16, 2048])
def test_a_moved_reference_has_another_fingerprint(size: int) -> None:
    import torch

    model = torch.nn.Linear(size, size)
    holder: Any = SimpleNamespace(ref_model=model)
    before = reference_fingerprint(holder)

    assert reference_fingerprint(holder) == before
    with torch.no_grad():
        model.weight += 1e-6
    assert reference_fingerprint(holder) != before
    assert (size * size > ELEMENTS) == (size == 2048)  # one is read whole, one is sampled
