"""Models that one scenario trains and another takes, such as PPO's reward model: trained once, and kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from rlhf_assert.errors import RecordingError, RlhfAssertError
from rlhf_assert.recording.live_recording import LiveRecording
from rlhf_assert.recording.recorder import Recorder
from rlhf_assert.recording.run import read_run
from rlhf_assert.verdict import judge
from rlhf_assert_tiny.tiny import cache_folder

if TYPE_CHECKING:
    from rlhf_assert.training.scenario import Scenario

SEED = 0


def trained(scenario: Scenario) -> Path:
    """Return the folder of the model that a scenario trains with seed 0 and its own number of steps.

    The first caller on this machine trains it, in front of everybody else. What it trains on, how, and the versions of
    everything in it decide on whether there is one already: it is kept with its whole run directory in the folder of
    the tiny models.

    Raises:
        RlhfAssertError: the training failed, or one of its checks did.
        RecordingError: the folder cannot be written.
    """
    folder = cache_folder()
    target = folder / f"{scenario.name}-{_key(scenario)}"
    if not target.is_dir():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{target.name}.lock"):
                if not target.is_dir():
                    _train(scenario, target)
        except OSError as error:
            raise RecordingError(
                f"{folder}: cannot keep the model of {scenario.name}: {error.strerror}: set RLHF_ASSERT_CACHE to a "
                "folder with space"
            ) from error
    return target / "checkpoints" / "final"


def _key(scenario: Scenario) -> str:
    from rlhf_assert_openrlhf.backend import build
    from rlhf_assert_openrlhf.environment import find_environment

    environment = find_environment()
    training = build(scenario, environment, seed=SEED, steps=scenario.steps, saved=Path("checkpoints"))
    content = [
        dict(environment.versions),
        training.entry_point,
        dict(training.flags),
        [[dict(row) for row in rows] for rows in (training.data, training.evaluation)],
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _train(scenario: Scenario, target: Path) -> None:
    from rlhf_assert_openrlhf.backend import BACKEND

    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        recorder = Recorder(draft, scenario=scenario.name, backend=scenario.backend, seed=SEED, steps=scenario.steps)
        recording = LiveRecording(recorder)
        try:
            BACKEND.train(scenario, recording, seed=SEED, steps=scenario.steps)
        except RlhfAssertError as error:
            raise RlhfAssertError(f"{scenario.name}, whose model this scenario takes: {error}") from error
        recording.finish()
        run = read_run(draft)
        if failures := judge(run).failures:
            raise RlhfAssertError(
                f"{scenario.name}, whose model this scenario takes, failed its own checks: {failures[0].headline}"
            )
        draft.chmod(0o755)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
