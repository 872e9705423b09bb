"""Whether the training came to its end."""

from __future__ import annotations

from rlhf_assert.checked import Check, Concern
from rlhf_assert.checks.registry import check
from rlhf_assert.checks.spec import of_algorithms
from rlhf_assert.checks.stating import failed, passed
from rlhf_assert.detect import Anomaly, Severity
from rlhf_assert.facts.crash_trace import first_line
from rlhf_assert.failures import TrainingFailed
from rlhf_assert.metrics import label
from rlhf_assert.numbers import count
from rlhf_assert.recording.events import AnomalyFound, Stop
from rlhf_assert.recording.run import Run

OUT_OF_MEMORY = "SIGKILL without a word is most often the kernel's out-of-memory killer: dmesg, a smaller batch"
_SEVERE = {severity.name for severity in Severity if severity >= Severity.critical}


@check(
    name="completion",
    question="Did the training come to its end?",
    failure=TrainingFailed,
    order=10,
    concerns=frozenset({Concern.ENDING}),
    needs="how the process ended",
    assertion="assert_training_completed",
    root_rank=0,
    at_the_end=True,
    not_in_a_log="a log does not tell how its training ended",
    finds=frozenset(
        {
            "gradient_nan",
            "gradient_inf",
            "weights_nan",
            "weights_inf",
            "reward_nan",
            "reward_inf",
            "engine_killed",
            "actor_killed",
        }
    ),
    expected=of_algorithms("ppo", "grpo", "rloo", "online-dpo", "dpo", "kto", "reward", "sft"),
)
def judge_completion(run: Run) -> Check:
    """Judge how the training ended: a crash, a time limit, a signal or a stop of the monitor fails.

    The end of a crash's traceback is in `run.error`, and the diagnosis prints it. A training that still runs is judged
    as far as it got, which is not to its end: it fails too.
    """
    if run.status == "completed":
        return passed(f"completed {count(run.steps, 'step')}", note=count(run.steps, "step"))
    planned = run.info.get("steps")
    progress = f"{run.steps} of {planned} steps" if isinstance(planned, int) else count(run.steps, "step")
    kind, summary, remedy = _ending(run)
    anomaly = Anomaly(kind=kind, metric="", severity=Severity.critical, onset=_last_step(run), summary=summary)
    return failed(
        f"training {summary}",
        anomalies=[anomaly],
        evidence=[f"{progress} logged"],
        remedy=[remedy] if remedy else [],
    )


def _ending(run: Run) -> tuple[str, str, str]:
    """Return the kind of the end, a clause about it, and what to do."""
    error = run.error or {}
    at = f"at step {_last_step(run)}"
    if run.status == "timeout":
        return (
            "timeout",
            f"hung {at}: {first_line(error) or 'no end within its time limit'}",
            ("the stacks in output.log show where it stood; a longer time_limit if it only was slow"),
        )
    if run.status == "stopped":
        return "stopped", f"stopped {at} by the monitor: {_reason_for_stop(run)}", ""
    if run.status == "running":
        return "running", f"has not ended: it was {at} when it was read", "judge it again when it has ended"
    if error.get("type") == "ProcessDied":
        return "killed", f"died {at}: {first_line(error)}", OUT_OF_MEMORY if "SIGKILL" in first_line(error) else ""
    if error.get("type") == "WorkerDied":
        return "killed", f"ended {at}: {first_line(error)}", OUT_OF_MEMORY
    said = ": ".join(text for text in (str(error.get("type") or "unknown error"), first_line(error)) if text)
    return "crash", f"crashed {at}: {said}", ""


def _last_step(run: Run) -> int:
    """Return the step in which the training ended: the one after the last that was logged, if more were planned."""
    planned = run.info.get("steps")
    return min(run.steps + 1, planned) if isinstance(planned, int) and run.status != "stopped" else run.steps


def _reason_for_stop(run: Run) -> str:
    """Return why the monitor stopped: what it said, or else the last critical anomaly that it recorded."""
    for event in reversed(run.events):
        if isinstance(event, Stop) and event.reason:
            return event.reason
        if isinstance(event, AnomalyFound) and event.severity in _SEVERE:
            return f"{label(event.metric)} {event.summary or event.kind}"
    return "it recorded no anomaly"
