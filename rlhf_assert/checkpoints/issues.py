"""What is wrong with a checkpoint: the findings that every module of this package shares."""

from __future__ import annotations

from dataclasses import dataclass

from rlhf_assert.detect.anomaly import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One finding on a checkpoint.

    Attributes:
        kind: the phenomenon in kebab-case, for example `truncated-file`.
        severity: `critical` closes the score at 0, `warning` lowers it by `penalty`, `info` leaves it alone.
        detail: one clause with the numbers, beginning with the file or tensor it is about.
        tensor: the tensor, empty where a whole file is concerned.
        penalty: share of the score that a warning takes, 0 to 1.
    """

    kind: str
    severity: Severity
    detail: str
    tensor: str = ""
    penalty: float = 0.0


def critical(kind: str, detail: str, tensor: str = "") -> Issue:
    """Return an issue that closes the score at 0."""
    return Issue(kind=kind, severity=Severity.critical, detail=detail, tensor=tensor)


def warning(kind: str, detail: str, tensor: str = "", *, penalty: float) -> Issue:
    """Return an issue that lowers the score by `penalty`."""
    return Issue(kind=kind, severity=Severity.warning, detail=detail, tensor=tensor, penalty=penalty)


def note(kind: str, detail: str, tensor: str = "") -> Issue:
    """Return an issue that leaves the score alone."""
    return Issue(kind=kind, severity=Severity.info, detail=detail, tensor=tensor)
