"""Development only: an offline environment, which every child process inherits.

pytest loads this file also where the packaged health tests run from an editable install, so it imports nothing; the
hypothesis profiles are in tests/conftest.py.
"""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
