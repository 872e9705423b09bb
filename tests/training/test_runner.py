"""The runner, on real trainings: each way to end leaves a readable run with the right status."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from filelock import FileLock, Timeout

from rlhf_assert.errors import MissingDependency, RecordingError, UsageError
from rlhf_assert.training.device_lock import one_training_per_device
from rlhf_assert.training.ending import describe_exit
from rlhf_assert.training.local_runner import LocalRunner
from rlhf_assert.training.locator import packaged_scenarios, scenarios_in_file
from rlhf_assert.training.request import Request
from rlhf_assert.training.runner import Runner
from rlhf_assert.training.scenario import Scenario, scenario

pytestmark = pytest.mark.training

Scenarios = dict[str, Scenario]

SCENARIOS = """
import os, signal, sys, time
from rlhf_assert import scenario

def trainer(ctx, at_step_3=lambda: None, **arguments):
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class AtStep3(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                at_step_3()

    return SFTTrainer(
        model=ctx.tiny_model(),
        args=SFTConfig(**ctx.training_arguments(**arguments)),
        train_dataset=ctx.demonstrations(32),
        processing_class=ctx.tokenizer,
        callbacks=[AtStep3()],
    )

@scenario(steps=5)
def sound(ctx):
    print("a line of the trainer's own")
    return trainer(ctx)

@scenario(steps=5)
def raises(ctx):
    def fail():
        raise RuntimeError("the third step went wrong")
    return trainer(ctx, fail)

@scenario(steps=5)
def raises_while_building(ctx):
    raise KeyError("no such data")

@scenario(steps=5)
def exits(ctx):
    return trainer(ctx, lambda: os._exit(7))

@scenario(steps=5)
def asks_to_exit(ctx):
    return trainer(ctx, lambda: sys.exit("enough"))

@scenario(steps=5)
def segfaults(ctx):
    return trainer(ctx, lambda: os.kill(os.getpid(), signal.SIGSEGV))

@scenario(steps=5, time_limit=8.0)
def hangs(ctx):
    return trainer(ctx, lambda: time.sleep(600))

@scenario(steps=5)
def leaves_a_process(ctx):
    import subprocess
    def start():
        process = subprocess.Popen(["sleep", "600"])
        (ctx.output_dir.parent / "left").write_text(str(process.pid))
    return trainer(ctx, start)

@scenario(steps=5)
def no_trainer(ctx):
    return 7

@scenario(steps=5)
def forgotten_return(ctx):
    trainer(ctx)

@scenario(backend="no-such-backend")
def no_backend(ctx): ...
"""


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> Scenarios:
    file = tmp_path_factory.mktemp("scenarios") / "runner_scenarios.py"
    file.write_text(SCENARIOS)
    return scenarios_in_file(file)


@pytest.fixture(scope="module")
def runner() -> Iterator[LocalRunner]:
    with LocalRunner() as runner:
        yield runner


def test_a_training_that_ends(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    calls = []
    run = runner.run(Request.of(scenarios["sound"], seed=3), tmp_path / "run", on_progress=lambda: calls.append(1))
    assert (run.status, run.steps, run.seed, run.error) == ("completed", 5, 3, None)
    assert [row.step for row in run.rows] == [1, 2, 3, 4, 5]
    assert run.info["versions"]["trl"]
    assert run.info["pid"] != os.getpid()
    assert "a line of the trainer's own" in (run.path / "output.log").read_text()
    assert calls, "progress is reported while the child trains"


def test_steps_and_seed_can_be_given(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["sound"], seed=1, steps=2), tmp_path / "run")
    assert (run.steps, run.info["steps"], run.info["seed"]) == (2, 2, 1)


def test_in_this_process(scenarios: Scenarios, tmp_path: Path) -> None:
    # In an interpreter of its own: this one must not import the framework.
    code = (
        "import sys; from pathlib import Path; from rlhf_assert.training.local_runner import LocalRunner;"
        "from rlhf_assert.training.request import Request;"
        "from rlhf_assert.training.locator import scenarios_in_file;"
        "found = scenarios_in_file(Path(sys.argv[1]));"
        "run = LocalRunner(in_process=True).run(Request.of(found[sys.argv[2]], steps=2), Path(sys.argv[3]));"
        "import os; assert run.info['pid'] == os.getpid(); print(run.status, run.steps)"
    )
    file = scenarios["sound"].file
    command = [sys.executable, "-c", code, str(file), "sound", str(tmp_path / "run")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "completed 2"


def test_it_is_a_runner(runner: LocalRunner, tmp_path: Path) -> None:
    typed: Runner = runner
    assert isinstance(typed, Runner)
    typed.submit(Request.of(packaged_scenarios()["trl-sft"]), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "this runner trains only what is waited for"


def test_a_changed_copy_of_a_scenario_is_trained_as_it_is(
    runner: LocalRunner, scenarios: Scenarios, tmp_path: Path
) -> None:
    changed = replace(scenarios["sound"], learns="loss", time_limit=float("inf"))
    run = runner.run(Request.of(changed, steps=2), tmp_path / "run")
    assert (run.status, run.info["learns"]) == ("completed", "loss")


def test_a_scenario_that_the_child_cannot_find_is_told(runner: LocalRunner, tmp_path: Path) -> None:
    @scenario(name="nested")
    def within_a_function(ctx: object) -> object: ...

    run = runner.run(Request.of(within_a_function), tmp_path / "run")
    assert (run.status, run.scenario) == ("crashed", "nested")
    assert run.error is not None
    assert run.error["type"] == "UsageError"
    assert "defines no scenario" in run.error["message"]


def test_what_the_environment_lacks_is_told_before_anything_is_written(runner: LocalRunner, tmp_path: Path) -> None:
    impossible = replace(packaged_scenarios()["trl-sft"], requires=("trl<0.1",))
    with pytest.raises(MissingDependency, match=r"trl-sft needs trl<0\.1"):
        runner.run(Request.of(impossible), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_exception(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["raises"]), tmp_path / "run")
    assert run.status == "crashed"
    assert run.steps >= 2, "what was logged before stays"
    assert run.error is not None
    assert (run.error["type"], run.error["message"]) == ("RuntimeError", "the third step went wrong")
    assert "in fail" in run.error["traceback"]
    assert str(scenarios["raises"].file) in run.error["traceback"]


def test_an_exception_while_building(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["raises-while-building"]), tmp_path / "run")
    assert (run.status, run.steps) == ("crashed", 0)
    assert run.error is not None
    assert run.error["type"] == "KeyError"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("exits", "exit status 7"),
        ("segfaults", "killed by SIGSEGV (signal 11)"),
    ],
)
def test_a_process_that_dies(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path, name: str, said: str) -> None:
    run = runner.run(Request.of(scenarios[name]), tmp_path / "run")
    assert run.status == "crashed"
    assert run.steps >= 2
    assert run.error is not None
    assert said in run.error["message"]
    # The warm child has survived it.
    assert runner.run(Request.of(scenarios["sound"], steps=1), tmp_path / "next").status == "completed"


def test_a_request_to_exit_is_a_crash_with_its_traceback(
    runner: LocalRunner, scenarios: Scenarios, tmp_path: Path
) -> None:
    run = runner.run(Request.of(scenarios["asks-to-exit"]), tmp_path / "run")
    assert run.status == "crashed"
    assert run.error is not None
    assert (run.error["type"], run.error["message"]) == ("SystemExit", "enough")


def test_a_segfault_leaves_its_stack(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["segfaults"]), tmp_path / "run")
    assert run.error is not None
    assert "Fatal Python error: Segmentation fault" in run.error["traceback"]


def test_a_hang(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["hangs"]), tmp_path / "run")
    assert run.status == "timeout"
    assert run.steps >= 2
    assert run.error is not None
    assert "8 s" in run.error["message"]
    assert "on_step_end" in run.error["traceback"], "the stack shows where it hung"


def test_the_workers_of_a_training_die_with_it(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    run = runner.run(Request.of(scenarios["leaves-a-process"]), tmp_path / "run")
    left = int((run.path / "left").read_text())
    for _ in range(50):
        if not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"process {left} outlives its training")


@pytest.mark.parametrize(("name", "returned"), [("no-trainer", "int"), ("forgotten-return", "None")])
def test_a_scenario_without_a_trainer(
    runner: LocalRunner, scenarios: Scenarios, tmp_path: Path, name: str, returned: str
) -> None:
    run = runner.run(Request.of(scenarios[name]), tmp_path / "run")
    assert run.error is not None
    assert run.error["type"] == "UsageError"
    assert f"{name}: its function returned {returned}: return a TRL trainer" in run.error["message"]


def test_an_unknown_backend(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend no-such-backend; known: openrlhf, trl"):
        runner.run(Request.of(scenarios["no-backend"]), tmp_path / "run")


def test_a_folder_that_holds_a_run_is_refused(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    runner.run(Request.of(scenarios["sound"], steps=1), tmp_path / "run")
    with pytest.raises(RecordingError, match="holds a run already"):
        runner.run(Request.of(scenarios["sound"], steps=1), tmp_path / "run")


def test_a_folder_that_cannot_be_written(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="cannot be written: Not a directory; choose another"):
        runner.run(Request.of(scenarios["sound"]), tmp_path / "file" / "run")


def test_a_full_disk_keeps_what_was_recorded(runner: LocalRunner, scenarios: Scenarios, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "metrics.jsonl").symlink_to("/dev/full")
    assert stat.S_ISCHR((path / "metrics.jsonl").stat().st_mode)
    run = runner.run(Request.of(scenarios["sound"]), path)
    assert run.status == "crashed"
    assert run.error is not None
    assert run.error["type"] == "RecordingError"
    assert "No space left on device" in run.error["message"]
    assert "\n" not in run.error["message"]
    assert run.events, "the events before it are there"


def test_the_child_ends_when_its_session_is_gone(scenarios: Scenarios, tmp_path: Path) -> None:
    code = (
        "import sys, os; from pathlib import Path; from rlhf_assert.training.local_runner import LocalRunner;"
        "from rlhf_assert.training.request import Request;"
        "from rlhf_assert.training.locator import scenarios_in_file;"
        "found = scenarios_in_file(Path(sys.argv[1]))['hangs'];"
        "path = Path(sys.argv[2]); "
        "end = lambda: os._exit(0) if (path / 'metrics.jsonl').exists() else None; "
        "LocalRunner().run(Request.of(found), path, on_progress=end)"
    )
    command = [sys.executable, "-c", code, str(scenarios["hangs"].file), str(tmp_path / "run")]
    subprocess.run(command, check=True)
    for _ in range(100):
        alive = [process for process in psutil.process_iter(["cmdline"]) if owned(process, tmp_path)]
        if not alive:
            return
        time.sleep(0.1)
    pytest.fail(f"{alive} outlive the session")


def owned(process: psutil.Process, folder: Path) -> bool:
    """Whether a process of ours has its output in the folder."""
    try:
        return any(str(folder) in opened.path for opened in process.open_files())
    except psutil.Error:
        return False


def test_a_missing_package_is_named_with_its_remedy(
    scenarios: Scenarios, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlhf_assert_trl import backend

    monkeypatch.setattr(backend, "NEEDED", ("no-such-package",))
    with LocalRunner() as fresh, pytest.raises(MissingDependency, match=r"pip install 'rlhf-assert\[trl\]'"):
        fresh.run(Request.of(scenarios["sound"]), tmp_path / "run")


def test_one_training_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"test-{os.getpid()}")
    monkeypatch.delenv("RLHF_ASSERT_LOCK", raising=False)
    with one_training_per_device():
        (lock,) = Path(tempfile.gettempdir()).glob(f"rlhf-assert-*test-{os.getpid()}.lock")
        with pytest.raises(Timeout):
            FileLock(lock).acquire(timeout=0)
    FileLock(lock).acquire(timeout=0).lock.release()
    monkeypatch.setenv("RLHF_ASSERT_LOCK", "none")
    with one_training_per_device(), one_training_per_device():
        FileLock(lock).acquire(timeout=0).lock.release()


def test_exit_codes_in_words() -> None:
    assert describe_exit(3) == "exit status 3"
    assert describe_exit(-9) == "killed by SIGKILL (signal 9)"
    assert describe_exit(-63).startswith("killed by ")
