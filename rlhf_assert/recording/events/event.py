"""What an event is, and the register of them all by their names on disk.

A line of `events.jsonl` holds the name of the event, its `step`, its `time`, and the fields of its class. Three rules
hold for every class:

- A field whose default is None stands in the line only where it has a value. Every other field always does.
- `step` is the optimizer step that the event belongs to. `time` counts seconds since 1970; the recorder fills it in.
- `extra` keeps the fields of a line that the class does not have, so that nothing is lost when a line is read and
  written again.

The table of events in `docs/run-directory.md` is made from the names, docstrings and fields of the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import get_annotations
from typing import TYPE_CHECKING, Any, TypeVar, cast, dataclass_transform


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a training.

    Attributes:
        step: the optimizer step, or None if none is known.
        time: seconds since 1970.
        extra: fields of the line that the class does not know.
    """

    if TYPE_CHECKING:

        @property
        def name(self) -> str:
            """The name of the event in `events.jsonl`."""

    step: int | None = None
    time: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfStep(Event):
    """Something that happened in a step: the step is always known.

    Attributes:
        step: the optimizer step.
    """

    step: int


E = TypeVar("E", bound=Event)

EVENTS: dict[str, type[Event]] = {}
"""The class of each event by its name on disk."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(name: str) -> Callable[[type[E]], type[E]]:
    """Make a frozen dataclass of a class, and register it as the event `name`."""

    def register(kind: type[E]) -> type[E]:
        has_fields = bool(get_annotations(kind))
        made = dataclass(frozen=True, slots=True, kw_only=True)(kind) if has_fields else _bare(kind)
        made.name = name  # type: ignore[assignment]  # the property above is for readers of the types
        EVENTS[name] = made
        return made

    return register


def _bare(kind: type[E]) -> type[E]:
    """Return a class without fields of its own, with slots; a dataclass by what it inherits, which costs no time."""
    body = {name: value for name, value in kind.__dict__.items() if name not in {"__dict__", "__weakref__"}}
    made: Any = type(kind.__name__, kind.__bases__, {**body, "__slots__": ()})
    return cast("type[E]", made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Event):
    """An event that this version does not know: one of a newer version, or one of somebody else's.

    Attributes:
        name: its name on disk.
        fields: everything in its line but `event`, `step` and `time`.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable(Event):
    """A line whose fields are not of the types that its event has.

    Attributes:
        name: the name of the event; empty if the line has none.
        field: the first field that is wrong, for example `engines[0].tokens`.
        reason: what is wrong with it, for example `a whole number is expected, not "many"`.
        record: the line as it stands.
    """

    name: str
    field: str
    reason: str
    record: Mapping[str, Any]

    def __str__(self) -> str:
        return f"event {self.name or 'without a name'}: {self.field}: {self.reason}"
