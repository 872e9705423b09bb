"""Events as records of `events.jsonl`, and back.

`decode_event` never raises: a record that does not fit its event becomes an `Unreadable`, and one of no known event an
`Unknown`. What it returns writes itself again as the record that it came from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from rlhf_assert.recording.events.event import EVENTS, Event, Unknown, Unreadable

INFINITIES = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
LARGEST = 2**63
_COMMON = ("step", "time", "extra")

Read = Callable[[Any], Any]


class _Wrong(Exception):
    """A value that is not what its field takes."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field

    def within(self, name: str) -> _Wrong:
        """Return the same, of a field that is inside of `name`."""
        separator = "." if self.field and not self.field.startswith("[") else ""
        return _Wrong(self.reason, f"{name}{separator}{self.field}")


def encode_event(event: Event) -> dict[str, Any]:
    """Return the record of an event: its name, step, time and fields; non-finite numbers stay numbers."""
    if isinstance(event, Unreadable):
        return dict(event.record)
    record = {"event": event.name, "step": event.step, "time": event.time}
    if isinstance(event, Unknown):
        record.update(event.fields)
    else:
        _write(event, record)
    if event.extra:
        record.update(event.extra)
    return record


def decode_event(record: Mapping[str, Any]) -> Event:
    """Return the event of a record, an `Unknown` or an `Unreadable`; never raises."""
    name = record.get("event")
    if not isinstance(name, str):
        return Unreadable(name="", field="event", reason=_unlike("text", name), record=record)
    kind: Any = EVENTS.get(name)
    try:
        time = _time(record.get("time"))
        if kind is None:
            step = _step(record.get("step"))
            rest = {key: value for key, value in record.items() if key not in {"event", "step", "time"}}
            return Unknown(name=name, step=step, time=time, fields=rest)
        return _reader(kind)(record, time)
    except _Wrong as wrong:
        return Unreadable(name=name, field=wrong.field, reason=wrong.reason, record=record)


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field of a dataclass stands in a record.

    Attributes:
        name: its attribute.
        key: its key in the record.
        optional: whether it is left out of the record while it is None.
        nested: whether other dataclasses may be inside of it.
        hint: its type.
        required: whether a record must have it.
    """

    name: str
    key: str
    optional: bool
    nested: bool
    hint: Any
    required: bool


@cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    """Return the fields of an event, but for those that every event has, or of a part of one."""
    hints = get_type_hints(kind)
    return tuple(
        _Field(
            name=one.name,
            key=on_disk(one),
            optional=one.default is None,
            nested=_has_dataclass(hints[one.name]),
            hint=hints[one.name],
            required=_has_no_default(one) and not _takes_none(hints[one.name]),
        )
        for one in fields(kind)
        if not (issubclass(kind, Event) and one.name in _COMMON)
    )


def on_disk(field: Field[Any]) -> str:
    """Return the key that a field of a dataclass has in the record."""
    return str(field.metadata.get("on disk", field.name))


def _has_no_default(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _has_dataclass(hint: Any) -> bool:
    return is_dataclass(hint) or any(map(_has_dataclass, get_args(hint)))


def _write(part: Any, record: dict[str, Any]) -> dict[str, Any]:
    """Put the fields of a dataclass into a record, and return it."""
    kind: Any = type(part)
    for field in _fields(kind):
        value = getattr(part, field.name)
        if value is not None or not field.optional:
            record[field.key] = _plain(value) if field.nested else list(value) if type(value) is tuple else value
    return record


def _plain(value: Any) -> Any:
    """Return `value` with mappings in place of dataclasses."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return _write(value, {}) if is_dataclass(value) else value


@cache
def _reader(kind: Any) -> Callable[[Mapping[str, Any], float | None], Event]:
    """Return what makes an event of this class from a record and its time."""
    needs_step = next(one for one in fields(kind) if one.name == "step").default is MISSING
    read = _fields_reader(kind)
    known = {"event", "step", "time", *(field.key for field in _fields(kind))}

    def make(record: Mapping[str, Any], time: float | None) -> Event:
        step = _step(record.get("step"))
        if step is None and needs_step:
            raise _Wrong("is missing", "step")
        values = read(record)
        if not known.issuperset(record):
            values["extra"] = {key: record[key] for key in record if key not in known}
        made: Event = kind(step=step, time=time, **values)
        return made

    return make


def _fields_reader(kind: Any) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what reads the fields of a dataclass, but for those that all events have, from a record."""
    plan = [(field.name, field.key, _reader_of(field.hint), field.required) for field in _fields(kind)]
    empty = {one.name: None for one in fields(kind) if _has_no_default(one) and one.name not in _COMMON}

    def read(record: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = dict(empty)
        for name, key, convert, required in plan:
            if key in record:
                try:
                    values[name] = convert(record[key])
                except _Wrong as wrong:
                    raise wrong.within(key) from None
            elif required:
                raise _Wrong("is missing", key)
        return values

    return read


def _takes_none(hint: Any) -> bool:
    return get_origin(hint) in {UnionType, Union} and type(None) in get_args(hint)


def _reader_of(hint: Any) -> Read:
    """Return what reads a value of a type: text, numbers, `X | None`, tuples, mappings and dataclasses."""
    if _takes_none(hint):
        (inner,) = (_reader_of(part) for part in get_args(hint) if part is not type(None))
        return lambda value: None if value is None else inner(value)
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        item = _reader_of(arguments[0])
        return lambda value: _list(value, item)
    if get_origin(hint) is Mapping:
        item = _reader_of(arguments[1])
        return lambda value: _mapping(value, item)
    if is_dataclass(hint):
        kind: Any = hint
        read = _fields_reader(kind)
        return lambda value: kind(**read(_object(value)))
    return _SIMPLE[hint]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _Wrong(_unlike("text", value))


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _Wrong(_unlike("true or false", value))


def _whole(value: Any) -> int:
    whole = isinstance(value, float) and value.is_integer()
    if (whole or isinstance(value, int)) and not isinstance(value, bool) and -LARGEST <= value < LARGEST:
        return int(value)
    raise _Wrong(_unlike("a whole number", value))


def _number(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -LARGEST <= value < LARGEST:
        return value  # as it stands: an int is a float to every reader, and is written as it came
    if isinstance(value, str) and value in INFINITIES:
        return INFINITIES[value]
    raise _Wrong(_unlike("a number", value))


def _anything(value: Any) -> Any:
    return INFINITIES.get(value, value) if isinstance(value, str) else value


_SIMPLE: dict[Any, Read] = {str: _text, bool: _truth, int: _whole, float: _number, Any: _anything}


def _step(value: Any) -> int | None:
    try:
        step = None if value is None else _whole(value)
    except _Wrong as wrong:
        raise wrong.within("step") from None
    if step is not None and step < 0:
        raise _Wrong(_unlike("a step from 0 on", value), "step")
    return step


def _time(value: Any) -> float | None:
    if value is None:
        return None
    try:
        time = _number(value)
    except _Wrong as wrong:
        raise wrong.within("time") from None
    if not math.isfinite(time):
        raise _Wrong(_unlike("a moment", value), "time")
    return time


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    raise _Wrong(_unlike("an object", value))


def _list(value: Any, item: Read) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise _Wrong(_unlike("a list", value))
    read = []
    for index, one in enumerate(value):
        try:
            read.append(item(one))
        except _Wrong as wrong:
            raise wrong.within(f"[{index}]") from None
    return tuple(read)


def _mapping(value: Any, item: Read) -> dict[str, Any]:
    read = {}
    for key, one in _object(value).items():
        try:
            read[str(key)] = item(one)
        except _Wrong as wrong:
            raise wrong.within(str(key)[:40]) from None
    return read


def _unlike(expected: str, value: Any) -> str:
    if value is None:
        return f"{expected} is expected, it is empty"
    if isinstance(value, list | tuple | Mapping):
        return f"{expected} is expected, not {'an object' if isinstance(value, Mapping) else 'a list'}"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = type(value).__name__
    return f"{expected} is expected, not {text if len(text) <= 40 else text[:39] + '…'}"
