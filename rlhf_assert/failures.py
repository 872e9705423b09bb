"""What an assertion raises: a failed check, told as a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rlhf_assert.checked import Check
    from rlhf_assert.recording.run import Run
    from rlhf_assert.verdict import Verdict


class Tell(Protocol):
    """Tells why a verdict is no pass; `again` is the command that repeats the run."""

    def __call__(self, verdict: Verdict, *, again: str = "") -> str:
        """Return the diagnosis."""


_KINDS: dict[str, type[HealthFailure]] = {}


class HealthFailure(AssertionError):
    """A check that failed. `str(failure)` is the diagnosis, its first line the verdict.

    Attributes:
        verdict: every check that was made.
        check: the failed check; of several, the one with the first sign.
        again: the command that repeats the run; the diagnosis ends with it. Whoever knows it may set it.
    """

    __module__ = "builtins"

    def __init_subclass__(cls) -> None:
        # pytest prints a builtin exception by its bare name, and any other with its module: "KLAnomaly: kl runaway ..."
        # is the line that summaries repeat. Nothing is put into builtins.
        cls.__module__ = "builtins"
        _KINDS[cls.__name__] = cls

    def __init__(self, verdict: Verdict, check: Check, tell: Tell, again: str = "") -> None:
        super().__init__(check.headline)
        self.verdict = verdict
        self.check = check
        self._tell = tell
        self.again = again

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that was made."""
        return self.verdict.checks

    @property
    def run(self) -> Run:
        """The run that was judged."""
        return self.verdict.run

    def as_kind(self, kind: type[HealthFailure]) -> HealthFailure:
        """Return the same failure as another kind of exception."""
        return kind(self.verdict, self.check, self._tell, self.again)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy by name: a class that says it is a builtin cannot be looked up by its module."""
        return _restore, (type(self).__name__, self.verdict, self.check, self._tell, self.again)

    def __str__(self) -> str:
        """Return the diagnosis."""
        return self._tell(self.verdict, again=self.again)


def _restore(name: str, verdict: Verdict, check: Check, tell: Tell, again: str) -> HealthFailure:
    return _KINDS.get(name, CheckFailed)(verdict, check, tell, again)


class CheckFailed(HealthFailure):
    """A check that names no exception of its own failed."""


class NotJudged(HealthFailure):
    """A check without input, or with too little: nothing was found, and nothing was judged either."""


class Unjudged(HealthFailure):
    """A check that must judge this run did not: its input was not recorded, or there was too little of it."""


class KLAnomaly(HealthFailure):
    """The policy left its reference, or the reference is not the one it should be."""


class LossAnomaly(HealthFailure):
    """A loss behaves in a way that healthy runs never do."""


class EntropyAnomaly(HealthFailure):
    """The policy's entropy collapsed or exploded."""


class GradientAnomaly(HealthFailure):
    """Gradients explode, or do not reach the weights."""


class RewardUnreliable(HealthFailure):
    """The rewards do not measure what they should."""


class CheckpointUnhealthy(HealthFailure):
    """A checkpoint is broken, or scores too low."""


class LoopUnsound(HealthFailure):
    """The training loop does not do what it says: an update, a coefficient, the reference, a sampler, or the data."""


class SystemUnsound(HealthFailure):
    """An engine or an actor died, stalled, stands idle, or does not follow the weights that are trained."""


class ResourceLeak(HealthFailure):
    """Memory grows steadily, or steps take ever longer."""


class MetricMissing(HealthFailure):
    """A metric that the trainer must log was not logged."""


class MetricAnomaly(HealthFailure):
    """A metric without an assertion of its own behaves in a way that healthy runs never do."""


class TrainingFailed(HealthFailure):
    """The training did not come to its end."""


class NotLearning(HealthFailure):
    """The training did not improve what it was to improve."""


class RunUnhealthy(HealthFailure):
    """At least one check of a run failed."""
