"""Development only: hypothesis profiles, and an offline and deterministic environment.

pytest loads this file also where the packaged health tests run from an editable install, so it asks for nothing that a
user's environment may lack.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

# No test may reach a model hub, and every child process inherits this.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

if find_spec("hypothesis"):
    from hypothesis import settings

    settings.register_profile("default", deadline=None, max_examples=50)
    settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "default")
