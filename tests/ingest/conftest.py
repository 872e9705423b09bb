from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_assert.ingest import read_log


@pytest.fixture
def read(tmp_path):
    """Write a log, text or records, and read it as its one run."""

    def read_one(content, name="log.txt"):
        path: Path = tmp_path / name
        if isinstance(content, list):
            content = "".join(json.dumps(record) + "\n" for record in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        (run,) = read_log(path)
        return run

    return read_one
