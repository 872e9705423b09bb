"""Development only: hypothesis profiles, an offline and deterministic environment, and pytester."""

from __future__ import annotations

import os

from hypothesis import settings

pytest_plugins = ["pytester"]

# No test may reach a model hub, and every child process inherits this.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
