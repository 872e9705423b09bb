"""Console output: Python dicts as the Trainer prints them, OpenRLHF's `Global step N: {...}`, verl's `step:N - k:v`.

And the boxes of stable-baselines3, see `rlhf_assert.ingest.boxes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf_assert.ingest.boxes import Boxes
from rlhf_assert.ingest.text import Reading, lines_of

_DICT = re.compile(r"\{[^{}]*\}")
_PAIR = re.compile(
    r"""(?P<quote>['"])(?P<key>[^'"\n]{1,300})(?P=quote)\s*:\s*"""
    r"""(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<bare>[^,{}()\[\]]+(?:\([^()]*\))?))"""
)
_OPENRLHF_STEP = re.compile(r"[Gg]lobal[ _]step\s*[:=]?\s*(\d{1,15})\s*:?\s*$")
_VERL = re.compile(r"(?:^|\s)step:(\d{1,15}) - (.+)$")
_VERL_PAIR = re.compile(r"(?:^| - )([A-Za-z_][^\s:]*):([^\s]+)")
_SAMPLED_LINES = 400


def is_console(head: bytes) -> bool:
    """Return whether a line of the start of a file holds metrics; an output may begin with much else."""
    lines = head.decode("utf-8", errors="replace").split("\n")[:_SAMPLED_LINES]
    return any(True for line in lines for _ in records_in(line))


def read_console(path: Path, reading: Reading) -> Iterator[dict[str, Any]]:
    """Yield the metrics found anywhere in the lines; all other lines are the program's own, and no loss."""
    del reading  # nothing here can count as torn
    boxes = Boxes()
    for line in lines_of(path):
        if (row := boxes.take(line)) is not None:
            yield row
        elif b":" in line:
            yield from records_in(line.decode("utf-8", errors="replace"))


def records_in(line: str) -> Iterator[dict[str, Any]]:
    """Yield the metrics of one line; a progress bar's carriage returns may have joined several."""
    verl = _VERL.search(line)
    if verl:
        yield {"step": int(verl.group(1)), **dict(_VERL_PAIR.findall(verl.group(2)))}
        return
    if "{" not in line:
        return
    for matched in _DICT.finditer(line):
        record = {pair["key"]: _value(pair) for pair in _PAIR.finditer(matched.group())}
        if not record:
            continue
        step = _OPENRLHF_STEP.search(line, max(0, matched.start() - 60), matched.start())
        yield {"step": int(step.group(1)), **record} if step and "step" not in record else record


def _value(pair: re.Match[str]) -> str:
    for name in ("single", "double"):
        if pair[name] is not None:
            return pair[name]
    return pair["bare"].strip()
