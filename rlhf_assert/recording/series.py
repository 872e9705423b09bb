"""One metric over the steps of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One metric over the steps of a run, in the order in which it was logged.

    Attributes:
        name: canonical or original name.
        steps: shape (n,), the step of each value; not necessarily increasing (a resumed run goes back).
        values: shape (n,), NaN and infinities kept; a value logged as null is NaN.
    """

    name: str
    steps: IntArray
    values: FloatArray

    def __post_init__(self) -> None:
        if self.steps.shape != self.values.shape or self.steps.ndim != 1:
            raise ValueError(f"{self.name}: steps {self.steps.shape} and values {self.values.shape} must match")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def finite(self) -> Series:
        """The part of the series whose values are finite."""
        keep = np.isfinite(self.values)
        return Series(self.name, self.steps[keep], self.values[keep])

    @property
    def first(self) -> float:
        """The first value; NaN if the series is empty."""
        return float(self.values[0]) if len(self.values) else float("nan")

    @property
    def last(self) -> float:
        """The last value; NaN if the series is empty."""
        return float(self.values[-1]) if len(self.values) else float("nan")
