"""The frameworks that build tiny models, imported once."""

from __future__ import annotations

from pathlib import Path

import pytest

WARNINGS = ("FutureWarning", "DeprecationWarning", "UserWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the frameworks warn: what they deprecate among themselves is not what these tests are about."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"))


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch with one thread, which is faster for tiny models."""
    import torch

    torch.set_num_threads(1)
