"""Carries the recording to the workers of a Ray cluster that runs already.

Ray's own extension point: `RAY_RUNTIME_ENV_HOOK` names a function through which `ray.init` sends the runtime
environment of a training (Ray 2.55). Workers of a cluster that the training starts itself inherit its variables anyway.
"""

from __future__ import annotations

import os
from typing import Any

HOOK = "rlhf_assert_openrlhf.inside.ray_jobs.extend"
CARRIED = ("RLHF_ASSERT_FEED", "RLHF_ASSERT_CPU", "RLHF_ASSERT_CANARY")


def extend(runtime_env: dict[str, Any] | None) -> dict[str, Any]:
    """Return a runtime environment whose workers record: their PYTHONPATH begins with this process's own."""
    given = dict(runtime_env or {})
    variables = dict(given.get("env_vars") or {})
    carried = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    theirs = variables.get("PYTHONPATH", "${PYTHONPATH}")  # which Ray expands on the node
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), theirs]))
    return {**given, "env_vars": {**variables, **carried, "PYTHONPATH": path}}
