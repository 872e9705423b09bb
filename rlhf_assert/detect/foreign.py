"""Detectors that others wrote: how one is made from whatever they offer, under the name by which it is known."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rlhf_assert.detect.anomaly import Anomaly, Detector
from rlhf_assert.detect.detector_spec import DetectorContext, DetectorSpec
from rlhf_assert.errors import UsageError
from rlhf_assert.recording.rows import Block


def spec_of(name: str, offered: object, *, knob: str = "", on_by_default: bool = True) -> DetectorSpec:
    """Return the spec of what somebody offers as a detector.

    Args:
        name: the name by which it is to be known.
        offered: a `DetectorSpec`, or a class or function that returns a fresh detector (or several); see `make`.
        knob: see `DetectorSpec`; a class or function may say it in an attribute `knob`.
        on_by_default: see `DetectorSpec`; a class or function may say it in an attribute `on_by_default`.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(offered, DetectorSpec):
        make = offered.make
        return replace(offered, name=name, make=lambda context: one_of(name, make(context)))
    if not callable(offered):
        raise UsageError(f"{offered!r} makes no detector: offer a class, a function or a DetectorSpec")
    own = getattr(offered, "knob", "")
    return DetectorSpec(
        name,
        lambda context: one_of(name, call(offered, context)),
        knob=knob or (own if isinstance(own, str) else ""),
        on_by_default=on_by_default and getattr(offered, "on_by_default", True) is not False,
    )


def call(factory: Callable[..., Any], context: DetectorContext) -> Any:
    """Call a class or function with what it asks for.

    A parameter `context` gets the context, and so does a single parameter without a default, whatever its name. A
    parameter `threshold` gets the number from the settings, if there is one.
    """
    given: dict[str, Any] = {}
    try:
        parameters = dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):  # of a callable that is written in C
        parameters = {}
    if "threshold" in parameters and context.threshold is not None:
        given["threshold"] = context.threshold
    if "context" in parameters:
        given["context"] = context
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in given
    ]
    if len(needed) == 1 and "context" not in given and needed != ["threshold"]:
        return factory(context, **given)
    return factory(**given)


def one_of(name: str, made: Any) -> Detector:
    """Return what a factory made as one detector of this name.

    Raises:
        UsageError: it is no detector.
    """
    several: list[Any] = [made] if is_detector(made) or not isinstance(made, Iterable) else list(made)
    if not several or not all(map(is_detector, several)):
        raise UsageError(f"it returned {made!r}: a detector has a name and update(step, metrics)")
    if len(several) == 1 and several[0].name == name:
        own: Detector = several[0]
        return own
    return _Renamed(name, several)


def is_detector(value: object) -> bool:
    """Return whether a value looks like a detector."""
    return isinstance(getattr(value, "name", None), str) and callable(getattr(value, "update", None))


def kebab_case(name: str) -> str:
    """Return the name of a class or function in kebab-case.

    >>> kebab_case("NoLongAnswers"), kebab_case("no_long_answers"), kebab_case("KLTooHigh")
    ('no-long-answers', 'no-long-answers', 'kl-too-high')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.replace("_", "-").strip("-").lower()


class Unmade:
    """Stands for a detector that could not be made: the first row makes it report why."""

    def __init__(self, name: str, error: Exception) -> None:
        self.name = name
        self._error = error

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterable[Anomaly]:
        """Raise the error that kept the detector from being made."""
        del step, metrics
        raise self._error


class _Renamed:
    """One or several detectors under the name by which others know them."""

    def __init__(self, name: str, detectors: Sequence[Detector]) -> None:
        self.name = name
        self._detectors = detectors

    @property
    def finished(self) -> bool:
        return all(getattr(detector, "finished", False) for detector in self._detectors)

    def absorb(self, block: Block) -> bool:
        # Of several, one could take the block and the next refuse it; then the first would see its rows twice.
        absorb = getattr(self._detectors[0], "absorb", None)
        return len(self._detectors) == 1 and absorb is not None and absorb(block)

    def update(self, step: int, metrics: Mapping[str, float | None]) -> Iterator[Anomaly]:
        for detector in self._detectors:
            yield from detector.update(step, metrics) or ()
