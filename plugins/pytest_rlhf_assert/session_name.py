"""The name of a session's folder. It stands apart so that xdist's controller imports nothing else for it."""

from __future__ import annotations

import time
import uuid

import pytest  # noqa: TID253 - this is a pytest plugin

NAME = pytest.StashKey[str]()


def session_name(config: pytest.Config) -> str:
    """Return the name of this session's folder: time and a random part, the same on all workers of xdist."""
    given: str | None = getattr(config, "workerinput", {}).get("rlhf_session")
    if given is None:
        given = config.stash.setdefault(NAME, f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}")
    return given
