"""A process of the training died: what it was, and what is known of its end."""

from __future__ import annotations

from rlhf_assert.causes.hypothesis import RuledOut, about, about_the_end
from rlhf_assert.checked import Cause, Check, Concern
from rlhf_assert.facts.deaths import deaths
from rlhf_assert.recording.run import Run


def lost_process(run: Run, check: Check) -> Cause | RuledOut | None:
    """The training ended because a process of it died: the first that did is the cause."""
    if not about(check, Concern.PROCESSES) and not about_the_end(run, check):
        return None
    if run.status == "completed":
        return None
    dead = deaths(run)
    if not dead:
        return None
    return Cause(
        f"{dead[0].what} died: {dead[0].reason}",
        "certain",
        remedy=("its own last words are in output.log of the run directory", "dmesg tells whether memory ran out"),
    )
