"""How fast a checkpoint is scanned, against a plain sum over the same bytes; prints one JSON line.

    python benchmarks/checkpoint_scan.py [megabytes] [F32|BF16|F16]

ratio_to_memmap_sum is 1 where the scan (mean, std, min, max, norm, NaN, Inf, zeros, dead rows) is as fast as one
`np.memmap(...).sum()`; memory is the peak of what the scan allocates, over the size of the largest tensor.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rlhf_assert.checkpoints.header import read_header
from rlhf_assert.checkpoints.tensor_statistics import scan_tensors

TENSORS = 8
BYTES = {"F32": 4, "BF16": 2, "F16": 2}


def write(file: Path, megabytes: int, dtype: str) -> int:
    """Write a checkpoint of equal tensors and return the bytes of one."""
    rows = max(1, megabytes * 1_000_000 // TENSORS // (1024 * BYTES[dtype]))
    size = rows * 1024 * BYTES[dtype]
    values = np.random.default_rng(0).standard_normal(rows * 1024, dtype=np.float32)
    raw = {"F32": values, "BF16": (values.view(np.uint32) >> 16).astype(np.uint16), "F16": values.astype(np.float16)}
    header = {
        f"layers.{i}.weight": {"dtype": dtype, "shape": [rows, 1024], "data_offsets": [i * size, (i + 1) * size]}
        for i in range(TENSORS)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _ in range(TENSORS):
            stream.write(raw[dtype].tobytes())
    return size


def best(work: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    dtype = sys.argv[2] if len(sys.argv) > 2 else "F32"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        tensor = write(file, megabytes, dtype)
        entries, issues = read_header(file)
        assert not issues
        total = tensor * TENSORS
        offset = entries[0].start
        storage = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}[dtype]

        def scan() -> None:
            assert len(list(scan_tensors(entries))) == TENSORS

        def plain() -> None:
            np.memmap(file, dtype=storage, mode="r", offset=offset).sum()

        drift = best(lambda: list(scan_tensors(entries, {entry.name: entry for entry in entries})), 2)
        scanned, summed = best(scan), best(plain)
        tracemalloc.start()
        scan()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(
        json.dumps(
            {
                "benchmark": "checkpoint_scan",
                "dtype": dtype,
                "gigabytes": round(total / 1e9, 3),
                "gigabytes_per_second": round(total / scanned / 1e9, 2),
                "with_drift_gigabytes_per_second": round(2 * total / drift / 1e9, 2),
                "memmap_sum_gigabytes_per_second": round(total / summed / 1e9, 2),
                "ratio_to_memmap_sum": round(summed / scanned, 2),
                "peak_memory_over_largest_tensor": round(peak / tensor, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
