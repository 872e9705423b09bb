"""Python imports this at start-up, as it lies on the PYTHONPATH of a training: installs what the environment asks for.

`RLHF_ASSERT_CPU=1` lets OpenRLHF run without CUDA (`cpu`), `RLHF_ASSERT_FEED=FILE` records (`recording`, `supervised`).
"""

import os

if os.environ.get("RLHF_ASSERT_FEED") or os.environ.get("RLHF_ASSERT_CPU") == "1":
    from rlhf_assert_openrlhf.inside import actors, canary, cpu, engine, post_import, recording, supervised

    recorded = (*recording.HOOKS, *supervised.HOOKS, *engine.HOOKS, *canary.HOOKS, *actors.HOOKS)
    post_import.install(
        *(cpu.PATCHES if os.environ.get("RLHF_ASSERT_CPU") == "1" else ()),
        *(recorded if os.environ.get("RLHF_ASSERT_FEED") else ()),
    )
