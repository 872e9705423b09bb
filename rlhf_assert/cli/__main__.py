"""`python -m rlhf_assert.cli` is `rlhf-assert`."""

from __future__ import annotations

from rlhf_assert.cli import main

main()
