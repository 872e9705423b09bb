"""Records a training that the user launches: `python -m rlhf_assert_openrlhf.attach RUN -- COMMAND...`.

The command runs as it stands, on this terminal. What differs is its environment: Python finds our `sitecustomize` on
the PYTHONPATH, in the folder `hook` of the run directory, and so do the workers of a Ray cluster that runs already, if
they see the run directory under the same path. This process follows the feed that they write, and never holds them up:
if it is killed the training goes on, and the run is readable up to there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlhf_assert.detect.anomaly import Anomaly
    from rlhf_assert.recording.live_recording import LiveRecording

NOT_TOLD = "logger.wandb.key"
POLL_SECONDS = 0.5
SAMPLE_SECONDS = 2.0
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_FOUND = 127
USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, record it, and return its exit status (128 + N if signal N killed it)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    ours, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(
        prog="python -m rlhf_assert_openrlhf.attach",
        usage="%(prog)s RUN [--cpu] [--canary] -- COMMAND...",
        description="Record a training that COMMAND launches, as it stands, into the run directory RUN.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run directory to write; it must not hold a run yet")
    parser.add_argument("--cpu", action="store_true", help="make OpenRLHF mean the CPU; without it nothing is patched")
    parser.add_argument(
        "--canary", action="store_true", help="before the first step change a weight, sync, look, and put it back"
    )
    given = parser.parse_args(ours)
    if not command:
        parser.error("no command: end with -- and the command that trains, as you launch it without rlhf-assert")
    # Before numpy is imported: a thread that it starts would otherwise take the signal, and end this process.
    signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    from rlhf_assert.errors import RlhfAssertError

    try:
        return record(given.run.resolve(), command, cpu=given.cpu, canary=given.canary)
    except RlhfAssertError as error:
        say(str(error))
        return USAGE


def record(run: Path, command: Sequence[str], *, cpu: bool, canary: bool) -> int:
    """Run a command and record the training in it.

    Args:
        run: the run directory to write, absolute.
        command: the words of the command.
        cpu: whether to make OpenRLHF mean the CPU.
        canary: whether to prove the first weight sync, see `rlhf_assert_openrlhf.inside.canary`.

    Raises:
        RecordingError: the run directory cannot be written, or holds a run already.
        MissingDependency: with `cpu`, there is no OpenRLHF.
    """
    from rlhf_assert.detect.settings import project_settings
    from rlhf_assert.recording.live_recording import LiveRecording
    from rlhf_assert.recording.recorder import Recorder
    from rlhf_assert.training.runner import prepare_folder

    prepare_folder(run)
    settings = project_settings()
    variables = {**os.environ, **recording_variables(run, canary=canary), **(cpu_variables(command) if cpu else {})}
    recorder = Recorder(run, backend="openrlhf", command=without_secret(command), detection=settings.table())
    recording = LiveRecording(recorder, on_anomaly=warn)
    try:
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            command,
            env=variables,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED),  # noqa: PLW1509 - a system call
        )
    except OSError as error:
        say(f"{command[0]}: cannot be run: {error.strerror}")
        recording.finish("crashed", {"type": type(error).__name__, "message": str(error), "traceback": ""})
        shutil.rmtree(run / "hook")
        return NOT_FOUND
    return follow(process, recording)


def follow(process: subprocess.Popen[bytes], recording: LiveRecording) -> int:
    """Record what the feed tells until the process ends, and return its exit status."""
    from rlhf_assert.training.ending import describe_exit
    from rlhf_assert_openrlhf.backend import name_checkpoints
    from rlhf_assert_openrlhf.feed import Feed
    from rlhf_assert_openrlhf.usage import TreeUsage

    file = recording.path / "feed.jsonl"
    feed, usage, sampled = Feed(file, recording), TreeUsage(process.pid), 0.0
    while (code := process.poll()) is None:
        received = signal.sigtimedwait(FORWARDED, POLL_SECONDS)
        if received is not None and received.si_pid:  # a terminal sends to both, a process to this one alone
            process.send_signal(received.si_signo)
        feed.take()
        if feed.begun and not feed.ended and time.monotonic() - sampled > SAMPLE_SECONDS:
            sampled = time.monotonic()
            recording.resources(usage.take())
    feed.take()
    if feed.saves is not None:
        name_checkpoints(recording.path / "checkpoints", feed.saves, since=recording.info["started"])
    died = {"type": "ProcessDied", "message": f"the training process ended: {describe_exit(code)}", "traceback": ""}
    recording.describe(hook_seconds=feed.hook_seconds)
    recording.add_seconds(feed.hook_seconds)
    recording.finish("completed" if code == 0 else "crashed", None if code == 0 else feed.error or died)
    shutil.rmtree(recording.path / "hook", ignore_errors=True)
    file.unlink(missing_ok=True)
    if not feed.begun:
        say("no step was told: does the command train with openrlhf.cli, and do its processes see this folder?")
    say(f"{recording.info['status']}: rlhf-assert check {recording.path}")
    return code if code >= 0 else 128 - code


def recording_variables(run: Path, *, canary: bool = False) -> dict[str, str]:
    """Return the environment variables with which a training records, and put what it imports into `RUN/hook`.

    Copies: another node of a cluster sees the run directory, but need not have rlhf-assert.
    """
    from rlhf_assert_openrlhf.environment import expose
    from rlhf_assert_openrlhf.inside.ray_jobs import HOOK

    expose(run / "hook", copy)
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(run / "hook"), os.environ.get("PYTHONPATH")])),
        "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # a submitted job may set a PYTHONPATH itself: ours holds it too
        "RAY_RUNTIME_ENV_HOOK": HOOK,
        "RLHF_ASSERT_CANARY": str(int(canary)),
        "RLHF_ASSERT_FEED": str(run / "feed.jsonl"),
    }


def without_secret(command: Sequence[str]) -> list[str]:
    """Return the words of a command as they may be kept: without the key of a logging service."""
    kept: list[str] = []
    for word in command:
        name, given, _ = word.partition("=")
        secret = name == f"--{NOT_TOLD}" and bool(given)
        kept.append(f"{name}=..." if secret else "..." if kept[-1:] == [f"--{NOT_TOLD}"] else word)
    return kept


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder of Python sources."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def cpu_variables(command: Sequence[str]) -> Mapping[str, str]:
    """Return what makes OpenRLHF mean the CPU; what the user has set stays.

    Args:
        command: the words of a command; if it begins with an interpreter, that is OpenRLHF's.
    """
    from rlhf_assert_openrlhf.environment import ON_CPU, extensions, find_environment

    begins = shutil.which(command[0]) if Path(command[0]).name.startswith("python") else None
    environment = find_environment(Path(begins) if begins else None)
    path = f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"  # ninja is there
    ours = {**ON_CPU, "TORCH_EXTENSIONS_DIR": str(extensions(environment))}
    return {"PATH": path, **{name: value for name, value in ours.items() if name not in os.environ}}


def warn(anomaly: Anomaly) -> None:
    """Say what was found, while the training goes on."""
    say(f"{anomaly.severity.name}: {anomaly.metric} {anomaly.summary}")


def say(text: str) -> None:
    """Print a line beside what the training prints."""
    print(f"rlhf-assert: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
