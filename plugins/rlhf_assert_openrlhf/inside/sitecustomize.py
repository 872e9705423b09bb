"""Python imports this at start-up, as it lies on the PYTHONPATH of a training: installs what the environment asks for.

`RLHF_ASSERT_CPU=1` lets OpenRLHF run without CUDA (`cpu`), `RLHF_ASSERT_FEED=FILE` records (all other modules), and
`RLHF_ASSERT_CANARY=0` leaves out what changes a weight for a moment (`canary`). `RLHF_ASSERT_LAUNCHED=1` ends Ray at
once (`takedown`). `RLHF_ASSERT_FAULT=NAME@ONSETxAMOUNT` breaks the training (`faults`).
"""

import importlib.machinery
import importlib.util
import os
import sys

if os.environ.get("RLHF_ASSERT_FEED") or os.environ.get("RLHF_ASSERT_CPU") == "1":
    from rlhf_assert_openrlhf.inside import (
        actors,
        average,
        batches,
        canary,
        command,
        cpu,
        engine,
        faults,
        optimizers,
        post_import,
        recording,
        supervised,
        takedown,
        weights,
    )

    told = [command, recording, supervised, weights, average, batches, optimizers, engine, actors]
    if os.environ.get("RLHF_ASSERT_CANARY") != "0":
        told.append(canary)
    recorded = [hook for module in told for hook in module.HOOKS]
    post_import.install(
        *(cpu.PATCHES if os.environ.get("RLHF_ASSERT_CPU") == "1" else ()),
        *(recorded if os.environ.get("RLHF_ASSERT_FEED") else ()),
        *(takedown.HOOKS if os.environ.get("RLHF_ASSERT_LAUNCHED") else ()),
        *(faults.hooks(os.environ["RLHF_ASSERT_FAULT"]) if os.environ.get("RLHF_ASSERT_FAULT") else ()),
    )

# This module hides one that the environment may have, as Debian and coverage tools do: it runs as well.
_others = [entry for entry in sys.path if not os.path.isdir(os.path.join(entry, "rlhf_assert_openrlhf"))]  # noqa: PTH112, PTH118 - in every process: no import
_hidden = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _hidden is not None and _hidden.loader is not None:
    _hidden.loader.exec_module(importlib.util.module_from_spec(_hidden))
