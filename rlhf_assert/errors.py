"""The errors that rlhf-assert raises: one line each, saying what happened, to what, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlhfAssertError(Exception):
    """Base of every error that rlhf-assert raises on purpose; `str(error)` is one line."""


class UsageError(RlhfAssertError):
    """An argument, option or configuration key that cannot be right."""


class UnreadableRun(RlhfAssertError):
    """A run directory, log or checkpoint that cannot be read."""


class NotRecorded(RlhfAssertError, KeyError):
    """A metric that a run did not record; if the training crashed, the message says how."""

    def __str__(self) -> str:
        """Return the message; a KeyError would show it in quotes."""
        return str(self.args[0]) if self.args else ""


class RecordingError(RlhfAssertError):
    """A run directory that cannot be written any further; what was recorded before stays."""


class MissingDependency(RlhfAssertError):
    """A package that the requested work needs is not installed."""


class TrainingStopped(RlhfAssertError):
    """A monitor stopped the training on purpose; the run ends as `stopped`, not as `crashed`."""


class WorkerDied(RlhfAssertError):
    """One of the processes that a training consists of ended without a word; the message begins with its name."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for the known word nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
