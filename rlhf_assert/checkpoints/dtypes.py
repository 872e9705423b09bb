"""The number formats of safetensors, and how their raw bytes become floats without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlhf_assert.recording.series import FloatArray

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
    "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
"""Name in the header -> bits per element (safetensors 0.8, `Dtype::bitsize`)."""

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The formats in which weights are stored; rules about weights hold for these, statistics for all of `STORAGE`."""

STORAGE: dict[str, str] = {
    "BOOL": "u1", "U8": "u1", "I8": "i1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "U32": "<u4", "I64": "<i8",
    "U64": "<u8", "F64": "<f8", "F32": "<f4", "F16": "<u2", "BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1",
}  # fmt: skip
"""Name -> numpy format of the raw element; a format that is not here can be sized but not read."""


def _float8_e4m3() -> NDArray[np.float32]:
    """Every float8 e4m3fn by its byte: 4 exponent bits of bias 7, no infinities, NaN in 0x7f and 0xff (OCP OFP8)."""
    codes = np.arange(256)
    exponent, mantissa = (codes >> 3) & 15, codes & 7
    magnitude = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    magnitude[(codes & 127) == 127] = np.nan
    return np.where(codes & 128, -magnitude, magnitude).astype(np.float32)


_TABLES: dict[str, NDArray[np.float32]] = {}


def _table(dtype: str) -> NDArray[np.float32]:
    """Return the value of every code of a format of at most 16 bits: a look-up beats numpy's own half conversion."""
    if dtype not in _TABLES:
        with np.errstate(invalid="ignore"):
            _TABLES[dtype] = {
                "F16": lambda: np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32),
                "F8_E5M2": lambda: (np.arange(256, dtype=np.uint16) << 8).view(np.float16).astype(np.float32),
                "F8_E4M3": _float8_e4m3,
            }[dtype]()
    return _TABLES[dtype]


def decode(raw: NDArray[np.generic], dtype: str, narrow: NDArray[np.float32], out: FloatArray) -> NDArray[np.generic]:
    """Write raw elements into `out` as float64, and return them in the format that is fastest to scan.

    Args:
        raw: shape (n,), of `STORAGE[dtype]`.
        dtype: a name in `STORAGE`.
        narrow: shape (n,), scratch for the formats that numpy does not know.
        out: shape (n,).
    """
    scanned = raw
    if dtype == "BF16":
        np.left_shift(raw, 16, out=narrow.view(np.uint32), dtype=np.uint32, casting="unsafe")
        scanned = narrow
    elif dtype in {"F16", "F8_E4M3", "F8_E5M2"}:
        _table(dtype).take(raw.astype(np.intp), out=narrow, mode="clip")
        scanned = narrow
    with np.errstate(invalid="ignore"):  # a signalling NaN is one more NaN
        np.copyto(out, scanned, casting="unsafe")
    return scanned
