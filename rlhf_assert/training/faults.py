"""A fault: one thing that is broken in a training on purpose, to see whether it is found.

`fault_kinds` lists what can be broken. A `Fault` is one of these kinds, the step at which it begins, and how much of
it there is. A backend breaks the training (`Backend.train`); nothing here knows a framework.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.training.fault_kinds import FAULTS, FaultKind

_FORM = re.compile(r"(?P<kind>[a-z_]+?)(?:@(?P<onset>-?\d+))?(?:x(?P<magnitude>[-+]?[\d.]+(?:e[-+]?\d+)?))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in one training.

    Attributes:
        kind: a name in `FAULTS`.
        onset: the first step that it touches, from 1 on; step n is the one after which n updates are done.
        magnitude: how much of it, in the unit of its kind.
    """

    kind: str
    onset: int
    magnitude: float

    def __str__(self) -> str:
        """Return the form that `parse_fault` reads, for example `reward_nan@10x2`."""
        return f"{self.kind}@{self.onset}x{self.magnitude:.12g}"


def make_fault(kind: str, onset: int | None = None, magnitude: float | None = None) -> Fault:
    """Return a fault, with the defaults of its kind for what is not given.

    Raises:
        UsageError: an unknown kind, an onset below 1, or a magnitude that its unit does not allow.
    """
    if kind not in FAULTS:
        raise UsageError(f"unknown fault {kind}{suggest(kind, FAULTS)}; known: {', '.join(FAULTS)}")
    known = FAULTS[kind]
    onset = known.onset if onset is None else onset
    magnitude = known.magnitude if magnitude is None else magnitude
    if not _is_number(onset) or onset != int(onset) or onset < 1:
        raise UsageError(f"fault {kind}: onset={onset}: an onset is a step, 1 or later")
    if not _is_number(magnitude) or not isfinite(magnitude):
        raise UsageError(f"fault {kind}: magnitude={magnitude}: not a number{_meaning(known)}")
    if not known.unit and magnitude != 1.0:
        raise UsageError(f"fault {kind}: magnitude={magnitude:g}: it is there or not, and takes no magnitude")
    if magnitude < 0.0 or (known.unit.endswith("0 to 1") and magnitude > 1.0):
        raise UsageError(f"fault {kind}: magnitude={magnitude:g}: out of range{_meaning(known)}")
    return Fault(kind, int(onset), float(magnitude))


def parse_fault(text: str) -> Fault:
    """Return the fault of its text form `NAME[@ONSET][xMAGNITUDE]`, for example `reward_nan@10x2`.

    Raises:
        UsageError: not of this form, or see `make_fault`.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        name = re.split(r"[@\s]", text.strip())[0]
        hint = "" if name in FAULTS else suggest(name, FAULTS)
        raise UsageError(f"fault {text!r}: give it as NAME[@ONSET][xMAGNITUDE], for example reward_nan@10x2{hint}")
    onset, magnitude = match["onset"], match["magnitude"]
    try:
        number = None if magnitude is None else float(magnitude)
    except ValueError:
        raise UsageError(f"fault {text!r}: {magnitude} is no number") from None
    return make_fault(match["kind"], None if onset is None else int(onset), number)


def describe_fault(fault: Fault) -> str:
    """Return what a fault does and from when on, in one clause."""
    said = FAULTS[fault.kind].summary.format(f"{fault.magnitude:g}")
    return f"{said}, from step {fault.onset} on" if fault.onset > 1 else f"{said}, from the start"


def encode_fault(fault: Fault | None) -> dict[str, Any] | None:
    """Return the JSON form of a fault, as `run.json` and a request keep it."""
    return None if fault is None else {"kind": fault.kind, "onset": fault.onset, "magnitude": fault.magnitude}


def decode_fault(record: Mapping[str, Any] | None) -> Fault | None:
    """Return the fault of its JSON form."""
    return None if record is None else make_fault(record["kind"], record["onset"], record["magnitude"])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _meaning(known: FaultKind) -> str:
    return f"; it is: {known.unit}" if known.unit else ""
