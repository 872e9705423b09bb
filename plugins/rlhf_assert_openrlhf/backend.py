"""The backend `openrlhf`: trains scenarios whose function returns an `OpenRLHFTraining`."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlhf_assert.errors import MissingDependency, RlhfAssertError, UsageError
from rlhf_assert.recording.events import Relaunch
from rlhf_assert_openrlhf.environment import ALONE, Environment, find_environment, variables
from rlhf_assert_openrlhf.injection import KINDS, asked_for
from rlhf_assert_openrlhf.promises import SUPERVISED, algorithm_of, configuration, promised_metrics

if TYPE_CHECKING:
    from rlhf_assert.recording.live_recording import LiveRecording
    from rlhf_assert.training.faults import Fault
    from rlhf_assert.training.scenario import Scenario
    from rlhf_assert_openrlhf.feed import Feed
    from rlhf_assert_openrlhf.training import OpenRLHFTraining, RewardFunction

POLL_SECONDS = 0.2
SAMPLE_SECONDS = 0.5
GRACE_SECONDS = 10.0
"""What the launcher adds to a scenario's time limit: whoever supervises the training is to speak first."""
MAX_TEMPORARY = 20
"""Characters of the folder for temporary files: Ray's sockets lie 86 deeper, and a socket's path has 107 at most."""
LOAD = {"ckpt.load_enable": True}
"""The flag of a training that goes on from its last checkpoint, if there is one."""


class OpenRLHFBackend:
    """Trains with OpenRLHF's own commands in processes of their own; see `rlhf_assert.training.backend.Backend`."""

    name = "openrlhf"
    faults = KINDS

    @property
    def needs(self) -> Mapping[str, float]:
        """What a training takes of a cluster's node: with CUDA a GPU each for policy, reference and engine."""
        on_cpu = self.missing() is not None or find_environment().on_cpu
        return {"CPU": 2.0} if on_cpu else {"CPU": 4.0, "GPU": 3.0}

    def missing(self) -> str | None:
        """Return what is not installed, with the command that mends it, or None."""
        try:
            find_environment()
        except MissingDependency as error:
            return str(error)
        return None

    def versions(self) -> Mapping[str, str]:
        """Return the versions of what decides a training's numbers, in OpenRLHF's environment."""
        return find_environment().versions

    def warm_up(self) -> None:
        """Build, once per environment, the tiny model and DeepSpeed's operators."""
        environment = find_environment()
        tiny_model(environment)
        if environment.on_cpu:
            run_inside(environment, "operators")

    def train(
        self, scenario: Scenario, recording: LiveRecording, *, seed: int, steps: int, fault: Fault | None = None
    ) -> None:
        """Launch the scenario's training and record it to its end; see `rlhf_assert.training.backend.Backend.train`.

        Raises:
            UsageError: the scenario's function returned no training, or one with flags that OpenRLHF refuses; or the
                fault does not apply to it.
            WorkerDied: one of its processes died; the message names it.
            RlhfAssertError: OpenRLHF ended with an error; the message ends with its own.
        """
        from rlhf_assert_openrlhf.ending import RayNotStarted

        environment = find_environment()
        saved = (recording.path / "checkpoints").resolve()
        training = build(scenario, environment, seed=seed, steps=steps, saved=saved)
        last = training.resume_after
        if last is not None and not 0 < last < steps:
            raise UsageError(f"{scenario.name}: resume_after={last}, but of {steps} steps a later one must be left")
        feed = None
        for flags in ({},) if last is None else ({}, LOAD):
            if feed is not None:
                feed.resume()
            launch = functools.partial(self._launch, scenario, environment, training, recording, fault, flags, feed)
            try:
                feed = launch()
            except RayNotStarted as error:  # nothing was trained: once more
                recording.event(Relaunch(reason=str(error)))
                output = recording.path / "output.log"
                output.rename(output.with_name("output-first-launch.log"))
                feed = launch()
            if last is not None and not flags and not feed.passed:
                raise RlhfAssertError(f"openrlhf ended before step {last + 1}, at which it was to be interrupted")

    def _launch(
        self,
        scenario: Scenario,
        environment: Environment,
        training: OpenRLHFTraining,
        recording: LiveRecording,
        fault: Fault | None,
        flags: Mapping[str, Any],
        feed: Feed | None,
    ) -> Feed:
        from rlhf_assert_openrlhf.feed import Feed
        from rlhf_assert_openrlhf.training import materialise

        with private_folder() as folder:
            words, settings = command(environment, training, {**materialise(training, folder), **flags})
            feed_file = (recording.path / "feed.jsonl").resolve()
            given = variables(environment, folder, feed_file) | asked_for(fault, training, settings)
            if training.entry_point in SUPERVISED:
                given |= ALONE
            if not any(name.endswith("dataset") for name in training.flags):
                given["HF_DATASETS_CACHE"] = str(folder / "datasets")  # rows of ours would stay in the user's
            if feed is None:
                described = describe(training, settings, scenario, on_cpu=environment.on_cpu)
                recording.describe(**described, initial_weights=str(tiny_model(environment)))
                feed = Feed(feed_file, recording, last=training.resume_after)
            self._run(words, given, recording, feed, folder, scenario.time_limit)
        return feed

    def _run(
        self,
        words: list[str],
        given: Mapping[str, str],
        recording: LiveRecording,
        feed: Feed,
        folder: Path,
        seconds: float,
    ) -> None:
        from rlhf_assert.resources.sampler import BRISK
        from rlhf_assert_openrlhf.ending import ending
        from rlhf_assert_openrlhf.launcher import TIME_OVER, Launched
        from rlhf_assert_openrlhf.usage import TreeUsage

        output = recording.path.resolve() / "output.log"
        launched = Launched(words, given, folder, output, seconds + GRACE_SECONDS)
        usage = TreeUsage(launched.process_number)
        sampled, samples = 0.0, 0
        try:
            while launched.poll() is None and not feed.passed:
                time.sleep(POLL_SECONDS)
                feed.take()
                name_checkpoints(recording.path / "checkpoints")
                pause = 0.0 if samples < BRISK else SAMPLE_SECONDS
                if feed.begun and not feed.ended and time.monotonic() - sampled > pause:
                    sampled, samples = time.monotonic(), samples + 1
                    recording.resources(usage.take())
        finally:
            status = launched.close()
            feed.take()
            name_checkpoints(recording.path / "checkpoints")
            Path(given["RLHF_ASSERT_FEED"]).unlink(missing_ok=True)
        if feed.passed:
            return  # interrupted, to be resumed
        if status == TIME_OVER:
            raise RlhfAssertError(f"openrlhf did not end within {seconds:g} s, the scenario's time_limit")
        if status != 0:
            raise ending(status, output)


def build(scenario: Scenario, environment: Environment, *, seed: int, steps: int, saved: Path) -> OpenRLHFTraining:
    """Call a scenario's function.

    Raises:
        UsageError: it returned no training.
    """
    from rlhf_assert_openrlhf.context import Context
    from rlhf_assert_openrlhf.training import OpenRLHFTraining

    model = tiny_model(environment)
    context = Context(seed=seed, steps=steps, output_dir=saved, tiny_model=model, on_cpu=environment.on_cpu)
    training = scenario(context)
    if not isinstance(training, OpenRLHFTraining):
        raise UsageError(
            f"{scenario.name}: its function returned {type(training).__name__}: return an OpenRLHFTraining(...), "
            "and leave the launch to rlhf-assert"
        )
    return training


def command(
    environment: Environment, training: OpenRLHFTraining, flags: Mapping[str, Any]
) -> tuple[list[str], dict[str, Any]]:
    """Return the words of the command and all its settings.

    Raises:
        UsageError: an unknown command or flag, or a value that the command refuses.
    """
    from rlhf_assert_openrlhf.flags import arguments, check, parser_of

    parser = parser_of(environment.package, training.entry_point)
    settings = check(flags, parser)
    return [str(environment.python), "-m", f"openrlhf.cli.{training.entry_point}", *arguments(flags)], settings


def describe(
    training: OpenRLHFTraining, settings: Mapping[str, Any], scenario: Scenario, *, on_cpu: bool
) -> dict[str, Any]:
    """Return the fields of `run.json` that a training can tell: algorithm, config, device and promised metrics."""
    command = training.entry_point
    config = configuration(command, settings)
    if rows := training.data or training.prompts:
        config["dataset_rows"] = min(len(rows), settings.get("data.max_samples") or len(rows))
    if command not in SUPERVISED:
        config["reward_functions"] = [name_of_reward(training.reward)]
    return {
        "algorithm": algorithm_of(command, settings),
        "config": config,
        "device": "cpu" if on_cpu else "cuda",
        "promised": list(dict.fromkeys([*promised_metrics(command, settings), *scenario.promises])),
        "learns": scenario.learns,
    }


def name_of_reward(reward: RewardFunction | Path | None) -> str:
    """Return the name of what rewards: the function's, the file's, or `reward` for a reward model."""
    return reward.stem if isinstance(reward, Path) else getattr(reward, "__name__", "reward")


@functools.cache
def tiny_model(environment: Environment) -> Path:
    """Return the folder of the tiny model, built by OpenRLHF's own torch and transformers if need be."""
    return Path(run_inside(environment, "tiny_model").splitlines()[-1])


def run_inside(environment: Environment, module: str) -> str:
    """Run a module of `rlhf_assert_openrlhf.inside` by OpenRLHF's interpreter, and return what it printed.

    Raises:
        RlhfAssertError: it failed; the message ends with its last line.
    """
    with private_folder() as folder:
        given = {**variables(environment, folder, folder / "feed"), "RLHF_ASSERT_FEED": "", "RLHF_ASSERT_CPU": ""}
        done = subprocess.run(  # noqa: S603 - our own module
            [environment.python, "-m", f"rlhf_assert_openrlhf.inside.{module}"],
            env=given,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise RlhfAssertError(f"{environment.python}: {module} failed: {said[-1]}")
    return done.stdout


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder with a short name, and remove it."""
    temporary = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="openrlhf-", dir=temporary if len(temporary) <= MAX_TEMPORARY else "/tmp"))  # noqa: S108
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def name_checkpoints(folder: Path, source: Path | None = None, since: float = 0.0) -> None:
    """Give each checkpoint that OpenRLHF saved as `global_stepN_hf` the name of a run directory, `checkpoint-N`.

    Args:
        folder: the run directory's `checkpoints`.
        source: where OpenRLHF saved, if not there.
        since: what was saved before is another training's; seconds since 1970.
    """
    for saved in (source or folder).glob("global_step*_hf"):
        number = saved.name.removeprefix("global_step").removesuffix("_hf")
        link = folder / f"checkpoint-{number}"
        if number.isdigit() and not link.is_symlink() and saved.stat().st_mtime >= since:
            link.symlink_to(saved.resolve() if source else saved.name)


BACKEND = OpenRLHFBackend()
