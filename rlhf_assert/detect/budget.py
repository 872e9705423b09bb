"""The false-alarm budget of a run: rates in, thresholds out.

The user says which share of healthy runs may be flagged. The statistical detectors that have data share this rate
evenly (Bonferroni: valid whatever their dependence), and each turns its part into a threshold. Invariants and
identities need no part of the budget, since a healthy run never breaks them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rlhf_assert.errors import UsageError

WARNING, CRITICAL = 0.05, 0.005
"""The default shares of healthy runs that may show a warning or worse, and a critical."""

LEVEL_SCORES = {4: (3.3, 0.8), 8: (2.8, 0.9), 16: (1.8, 0.6)}
"""Window of `rlhf_assert.detect.level.Level` -> the score that 5 % of runs of 1,000 rows of AR(.7) noise exceed in one
direction, and what a tenth of the rate adds. Independent noise, tails as heavy as t3 and lognormal, and benign trends
stay under it; so do shorter runs. tests/calibration/power.json has the table."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How many healthy runs are flagged: of one run a probability, of several the expected number.

    Attributes:
        warning: with a warning or worse.
        critical: with a critical.
    """

    warning: float = 0.0
    critical: float = 0.0

    def __add__(self, other: Rates) -> Rates:
        return Rates(self.warning + other.warning, self.critical + other.critical)


@dataclass(slots=True)
class Budget:
    """Shares of healthy runs that may be flagged, and the detectors that share them.

    Attributes:
        warning: share of healthy runs that may show a warning or worse.
        critical: share of healthy runs that may show a critical.

    Raises:
        UsageError: a rate outside 0..1 (0 and 1 excluded), or more criticals than warnings.
    """

    warning: float = WARNING
    critical: float = CRITICAL
    _claims: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name, rate in (("warning", self.warning), ("critical", self.critical)):
            if not 0.0 < rate < 1.0:
                raise UsageError(f"false-alarm rate {name}={rate}, but it must lie between 0 and 1")
        if self.critical > self.warning:
            raise UsageError(f"false-alarm rates: critical={self.critical} is above warning={self.warning}")

    def claim(self, detector: str) -> None:
        """Say that a statistical detector has data; from now on it has its part of the rates.

        Call it at the first row that has the detector's metrics, whatever their values. That row is never part of a
        block, so every detector sees the rates change at the same row.
        """
        self._claims.add(detector)

    @property
    def spent(self) -> Rates:
        """The shares of healthy runs that the detectors with data may flag: the whole budget, or nothing."""
        return Rates(self.warning, self.critical) if self._claims else Rates()

    def rate(self, *, critical: bool = False) -> float:
        """Return the rate of each detector, at warning or at critical."""
        return (self.critical if critical else self.warning) / max(1, len(self._claims))


def level_threshold(rate: float, window: int = 8) -> float:
    """Return the score of a level shift, in spreads, that a share `rate` of healthy runs exceeds."""
    base, decade = LEVEL_SCORES[window]
    return base + decade * math.log10(0.05 / rate)
