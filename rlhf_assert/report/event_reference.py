"""The reference of the events in `docs/run-directory.md`, written from their classes.

python -m rlhf_assert.report.event_reference docs/run-directory.md
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from rlhf_assert.recording.events import EVENTS, Event
from rlhf_assert.recording.events.lines import on_disk

BEGIN = "<!-- The events, written by `python -m rlhf_assert.report.event_reference FILE`; a test compares the two. -->"
END = "<!-- The end of the events. -->"


def events_section() -> str:
    """Return the tables of the events, and of what stands inside of their fields."""
    rows = [(f"`{name}`", _summary(kind).removesuffix("."), _described(kind)) for name, kind in sorted(EVENTS.items())]
    lines = [*_table(("event", "when", "with"), rows)]
    for part in dict.fromkeys(part for _, kind in sorted(EVENTS.items()) for part in _parts(kind)):
        named = [(f"`{key}`", text) for key, text in _fields(part)]
        lines += ["", f"### {part.__name__}", "", _summary(part), "", *_table(("field", "meaning"), named)]
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """Return a page with the tables between its two marks written anew.

    Raises:
        ValueError: the page does not have the marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the page does not have the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{events_section()}\n{END}{after}"


def _summary(kind: type[Any]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0].replace("\n", " ")


def _described(kind: type[Event]) -> str:
    return "; ".join(f"`{key}`: {text}" for key, text in _fields(kind))


def _fields(kind: type[Any]) -> Iterator[tuple[str, str]]:
    """Yield (key on disk, text) of each field of an event or of a part of one, but for those that all events have."""
    texts = attributes(kind)
    hints = get_type_hints(kind)
    for field in fields(kind):
        if field.name not in {"step", "time", "extra"} or not issubclass(kind, Event):
            names = [part.__name__ for part in _dataclasses(hints[field.name])]
            links = "".join(f" ([{name}](#{name.lower()}))" for name in names)
            yield on_disk(field), f"{texts[field.name].removesuffix('.')}{links}"


def attributes(kind: type[Any]) -> dict[str, str]:
    """Return the text about each field from the section `Attributes` of a docstring."""
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            texts[name] = text
        elif line.strip():
            texts[name] += f" {line.strip()}"
    return texts


def _parts(kind: type[Any]) -> Iterator[type[Any]]:
    for hint in get_type_hints(kind).values():
        yield from _dataclasses(hint)


def _dataclasses(hint: Any) -> Iterator[type[Any]]:
    if is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for argument in get_args(hint):
        yield from _dataclasses(argument)


def _table(header: Iterable[str], rows: Iterable[tuple[str, ...]]) -> list[str]:
    names = tuple(header)
    lines = [f"| {' | '.join(cells)} |" for cells in (names, *rows)]
    return [lines[0], f"|{'---|' * len(names)}", *lines[1:]]


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")
