"""Every detector that is known here: our own in a fixed order, then those that others add.

Others add theirs in two ways. An installed package names it as an entry point of the group `rlhf_assert.detectors`.
Any Python file that is imported decorates it with `@rlhf_assert.detector`. A detector that cannot be loaded costs
nobody a training or a verdict: it stays in the list, and reports its error when a run is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn, TypeVar, overload

from rlhf_assert.detect.detector_spec import DetectorContext, DetectorSpec
from rlhf_assert.detect.foreign import kebab_case, spec_of
from rlhf_assert.errors import UsageError

ENTRY_POINT_GROUP = "rlhf_assert.detectors"

MODULES = (
    "non_finite",
    "step_one",
    "no_update",
    "no_variance",
    "lost_variance",
    "contradictions",
    "frozen",
    "vanished",
    "kl_runaway",
    "entropy_collapse",
    "truncation",
    "trust_region",
    "rollout_mismatch",
    "critic",
    "explosion",
    "preference_loss",
    "preference_reversal",
    "loss_rise",
    "reward_collapse",
    "reward_below_start",
    "reward_drift",
    "reward_follows_length",
    "oscillation",
    "update_spike",
    "level_shift",
    "z_score",
)
"""The modules of `rlhf_assert.detect.detectors`, in the order in which their detectors see each row: invariants first,
then bounds of scale, then shapes and relations. A new detector needs a line here, its module and its test."""

Target = TypeVar("Target", bound=Callable[..., Any])

BUILT_IN: Mapping[str, DetectorSpec] = {
    spec.name: spec for spec in (import_module(f"rlhf_assert.detect.detectors.{module}").SPEC for module in MODULES)
}
"""Our own detectors by name, in order."""

_decorated: dict[str, tuple[DetectorSpec, str]] = {}
"""What `detector` has registered: name -> the spec, and where its target is defined."""


def known_detectors() -> dict[str, DetectorSpec]:
    """Return every known detector by name: our own, then those of packages, then decorated ones."""
    return {**BUILT_IN, **added_detectors()}


def added_detectors() -> dict[str, DetectorSpec]:
    """Return the detectors by name that others have added: those of packages, then decorated ones."""
    return {**installed_detectors(), **{name: spec for name, (spec, _) in _decorated.items()}}


@cache
def installed_detectors() -> Mapping[str, DetectorSpec]:
    """Return the detectors of installed packages by the name of their entry point; they are looked up once."""
    specs: dict[str, DetectorSpec] = {}
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        name = entry.name
        if name in BUILT_IN or name in specs:
            taken = UsageError(f"the name {name} is taken: rename the entry point")
            name = f"{entry.dist.name if entry.dist else 'package'}:{name}"
            specs[name] = DetectorSpec(name, _raising(taken))
        else:
            specs[name] = _installed(entry)
    return specs


@overload
def detector(target: Target, /) -> Target: ...
@overload
def detector(*, name: str = "", knob: str = "", on_by_default: bool = True) -> Callable[[Target], Target]: ...
def detector(
    target: Target | None = None, /, *, name: str = "", knob: str = "", on_by_default: bool = True
) -> Target | Callable[[Target], Target]:
    """Add a detector, in a conftest.py, a scenario file or any other module that is imported.

    Decorate a class or function that makes a fresh detector. It may have a parameter `threshold`, which gets the number
    from the settings if one is given, and a parameter `context`, which gets a `DetectorContext`.

    Args:
        target: the class or function, where the decorator is used without parentheses.
        name: the name for settings and reports; by default the `name` of the class, else the target's own name.
        knob: what a number given in the settings means; empty if the detector can only be on or off.
        on_by_default: whether the detector watches unless somebody turns it off.

    Raises:
        UsageError: another detector has this name.
    """

    def add(target: Target) -> Target:
        own = getattr(target, "name", None)
        chosen = name or (own if isinstance(own, str) else kebab_case(target.__name__))
        spec = spec_of(chosen, target, knob=knob, on_by_default=on_by_default)
        add_detector(spec, f"{target.__module__}.{target.__qualname__}")
        return target

    return add if target is None else add(target)


def decorated_in(module: str) -> dict[str, DetectorSpec]:
    """Return the detectors by name that a module defines and decorates."""
    return {name: spec for name, (spec, defined) in _decorated.items() if defined.rpartition(".")[0] == module}


def add_detector(spec: DetectorSpec, defined: str) -> None:
    """Add a detector as the decorator does; `defined` is where it comes from, and may come again.

    Raises:
        UsageError: another detector has this name.
    """
    taken = spec.name in BUILT_IN or spec.name in installed_detectors()
    if taken or _decorated.get(spec.name, (None, defined))[1] != defined:
        raise UsageError(f"two detectors are called {spec.name}: rename one with @detector(name=...)")
    _decorated[spec.name] = spec, defined


def forget_detector(name: str) -> None:
    """Remove a detector that was decorated or added."""
    _decorated.pop(name, None)


def _installed(entry: EntryPoint) -> DetectorSpec:
    try:
        return spec_of(entry.name, entry.load())
    except Exception as error:  # noqa: BLE001 - a broken package must not cost anybody a training
        return DetectorSpec(entry.name, _raising(error))


def _raising(error: Exception) -> Callable[[DetectorContext], NoReturn]:
    def make(_: DetectorContext) -> NoReturn:
        raise error

    return make
