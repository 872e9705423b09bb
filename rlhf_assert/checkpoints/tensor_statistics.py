"""Statistics of every tensor of a checkpoint, and its drift from a reference, in one streaming pass.

The file is read once, a cache-sized block at a time, with plain reads: a file that shrinks under the reader gives a
short read, where a memory map would kill the process. Sums are float64; blocks are merged by Chan, Golub and LeVeque
(1983), "Algorithms for computing the sample variance", so neither a large mean nor a billion elements cost precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.checkpoints.dtypes import STORAGE, decode
from rlhf_assert.checkpoints.header import TensorEntry
from rlhf_assert.recording.series import FloatArray

BLOCK = 1 << 16
"""Elements that are read at a time: their float64 form just fits a core's second-level cache."""

PIECE = 1 << 13
"""Elements of one inner product; OpenBLAS starts threads above 10,000."""

WIDEST_ROW = 1 << 20
"""Elements of the longest row that is looked at as a row; no model has a wider matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorStatistics:
    """One tensor in numbers. Mean, std, min, max, norm and rms are over its finite elements, NaN if it has none.

    Attributes:
        name: the tensor.
        dtype: its format in the header, for example `BF16`.
        shape: its shape.
        mean: mean.
        std: population standard deviation.
        minimum: smallest element.
        maximum: largest element.
        norm: Euclidean norm; infinite where the sum of squares passes float64.
        rms: root of the mean square, the norm freed from the tensor's size.
        nan: number of NaN elements.
        infinite: number of infinite elements.
        zeros: number of elements that are exactly 0.
        dead_rows: number of rows of a matrix that are 0 throughout; 0 for other tensors.
        drift_squares: ||W - W_ref||^2 and ||W_ref||^2; NaN without a counterpart of the same shape.
        identical: whether it equals its counterpart; None without one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    mean: float
    std: float
    minimum: float
    maximum: float
    norm: float
    rms: float
    nan: int
    infinite: int
    zeros: int
    dead_rows: int
    drift_squares: tuple[float, float] = (math.nan, math.nan)
    identical: bool | None = None

    @property
    def drift(self) -> float:
        """||W - W_ref|| / ||W_ref||; NaN without a counterpart of the same shape, infinite from a zero reference."""
        return relative(*self.drift_squares)

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def zero_share(self) -> float:
        """Share of the elements that are exactly 0; NaN for an empty tensor."""
        return self.zeros / self.count if self.count else math.nan

    @property
    def largest(self) -> float:
        """Largest absolute value."""
        return max(abs(self.minimum), abs(self.maximum))


class ShortRead(OSError):
    """A file ended before its tensors did, or holds a format that has no numbers."""


def scan_tensors(
    entries: tuple[TensorEntry, ...], reference: Mapping[str, TensorEntry] | None = None
) -> Iterator[TensorStatistics]:
    """Yield the statistics of each tensor whose format can be read, in order.

    Args:
        entries: the tensors of a checkpoint.
        reference: the tensors of another one by name, to measure drift against.

    Raises:
        OSError: a file cannot be read, or ends too soon.
    """
    with ExitStack() as stack:
        files: dict[Path, FileIO] = {}

        def file_of(entry: TensorEntry) -> FileIO:
            if entry.file not in files:
                files[entry.file] = stack.enter_context(entry.file.open("rb", buffering=0))
            return files[entry.file]

        for entry in entries:
            if entry.dtype not in STORAGE:
                continue
            other = (reference or {}).get(entry.name)
            if other is not None and (other.shape != entry.shape or other.dtype not in STORAGE):
                other = None
            yield _scan(entry, file_of(entry), other, file_of(other) if other else None)


def _scan(entry: TensorEntry, file: FileIO, other: TensorEntry | None, other_file: FileIO | None) -> TensorStatistics:
    width = entry.shape[-1] if len(entry.shape) == 2 and 0 < entry.shape[-1] <= WIDEST_ROW else 0
    block = max(1, min(BLOCK // width * width if width <= BLOCK and width else width or BLOCK, entry.count))
    ours = _Reader(entry, file, block)
    theirs = _Reader(other, other_file, block) if other and other_file else None
    sums = _Sums()
    for start in range(0, entry.count, block):
        size = min(block, entry.count - start)
        raw, narrow, wide = ours.read(start, size)
        if theirs is not None:
            other_raw, _, reference = theirs.read(start, size)
            same_bytes = raw.dtype == other_raw.dtype and entry.dtype == theirs.entry.dtype and _equal(raw, other_raw)
            sums.add_drift(wide, reference, same_bytes=same_bytes, same_format=entry.dtype == theirs.entry.dtype)
        sums.add(narrow, wide, width)
    return sums.statistics(entry, compared=theirs is not None)


class _Reader:
    """Reads blocks of one tensor into buffers of its own; what it returns holds until the next read."""

    def __init__(self, entry: TensorEntry, file: FileIO, block: int) -> None:
        self.entry = entry
        self._file = file
        self._raw = np.empty(block, dtype=STORAGE[entry.dtype])
        self._narrow = np.empty(block, dtype=np.float32)
        self._wide = np.empty(block, dtype=np.float64)

    def read(self, start: int, size: int) -> tuple[NDArray[np.generic], NDArray[np.generic], FloatArray]:
        """Return elements as stored, in the format that is fastest to scan, and as float64."""
        raw = self._raw[:size]
        view = raw.view(np.uint8).data
        self._file.seek(self.entry.start + start * raw.itemsize)
        got = 0
        while got < raw.nbytes:
            step = self._file.readinto(view[got:])
            if not step:
                raise ShortRead(f"{self.entry.file.name} ends inside {self.entry.name}")
            got += step
        narrow = decode(raw, self.entry.dtype, self._narrow[:size], self._wide[:size])
        return raw, narrow, self._wide[:size]


def _equal(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    bits = f"u{one.itemsize}"  # as integers: NaN equals NaN, and 0 differs from -0
    return np.array_equal(one.view(bits), other.view(bits))


class _Sums:
    """What the blocks of one tensor add up to."""

    def __init__(self) -> None:
        self.count = self.nan = self.infinite = self.zeros = self.dead_rows = 0
        self.mean = self.centred = self.difference = self.reference = 0.0
        self.minimum, self.maximum = math.inf, -math.inf
        self.identical = True

    def add(self, narrow: NDArray[np.generic], wide: FloatArray, width: int) -> None:
        """Take a block; `width` is the length of a matrix' row, 0 for other tensors."""
        low, high = float(narrow.min()), float(narrow.max())
        zeros = narrow.size - int(np.count_nonzero(narrow != 0))
        self.zeros += zeros
        if width and zeros >= width:
            self.dead_rows += int(np.count_nonzero(~(narrow.reshape(-1, width) != 0).any(axis=1)))
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = np.isfinite(wide)
            nan = int(np.count_nonzero(np.isnan(wide)))
            self.nan += nan
            self.infinite += wide.size - int(np.count_nonzero(finite)) - nan
            wide = wide[finite]
            if not wide.size:
                return
            low, high = float(wide.min()), float(wide.max())
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        with np.errstate(over="ignore", invalid="ignore"):
            self._merge(wide)

    def _merge(self, values: FloatArray) -> None:
        mean = float(values.sum()) / values.size
        squares = dot(values, values)
        centred = squares - values.size * mean * mean
        if not centred > 1e-6 * squares:  # the mean dwarfs the spread: cancellation would eat the digits
            deviations = values - mean
            centred = dot(deviations, deviations)
        count = self.count + values.size
        shift = mean - self.mean
        self.mean += shift * values.size / count
        self.centred += centred + shift * shift * (self.count * values.size / count)
        self.count = count

    def add_drift(self, wide: FloatArray, reference: FloatArray, *, same_bytes: bool, same_format: bool) -> None:
        """Take a block of the tensor and of its counterpart; `reference` is overwritten."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.reference += dot(reference, reference)
            if same_bytes:
                return
            np.subtract(wide, reference, out=reference)
            self.identical = self.identical and not same_format and not reference.any()
            self.difference += dot(reference, reference)

    def statistics(self, entry: TensorEntry, *, compared: bool) -> TensorStatistics:
        """Return the statistics of the tensor whose blocks were taken."""
        known = self.count > 0
        rms = math.sqrt(self.centred / self.count + self.mean * self.mean) if known else math.nan
        return TensorStatistics(
            name=entry.name,
            dtype=entry.dtype,
            shape=entry.shape,
            mean=self.mean if known else math.nan,
            std=math.sqrt(self.centred / self.count) if known else math.nan,
            minimum=self.minimum if known else math.nan,
            maximum=self.maximum if known else math.nan,
            norm=rms * math.sqrt(self.count) if known else math.nan,
            rms=rms,
            nan=self.nan,
            infinite=self.infinite,
            zeros=self.zeros,
            dead_rows=self.dead_rows,
            drift_squares=(self.difference, self.reference) if compared else (math.nan, math.nan),
            identical=self.identical if compared else None,
        )


def dot(one: FloatArray, other: FloatArray) -> float:
    """Return the inner product, in pieces too short for BLAS to spread over threads.

    Threads that wait for each other at every block make a scan ten times slower on a machine that is busy.
    """
    whole = one.size // PIECE * PIECE
    pieces = np.matmul(one[:whole].reshape(-1, 1, PIECE), other[:whole].reshape(-1, PIECE, 1))
    return float(pieces.sum()) + float(np.dot(one[whole:], other[whole:]))


def relative(difference: float, reference: float) -> float:
    """Return the root of a ratio of sums of squares; from nothing to nothing is no drift."""
    if difference == 0.0:
        return 0.0
    return math.sqrt(difference / reference) if reference else math.inf
