"""Lines of text in a given width: wrapping at words, cutting, and the fallback to ASCII."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MAPPED_TO_ASCII = {
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LEFTWARDS ARROW}": "<-",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MIDDLE DOT}": "-",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{DOUBLE VERTICAL LINE}": "||",
    "\N{GREEK CAPITAL LETTER DELTA}": "delta ",
    "\N{GREEK SMALL LETTER SIGMA}": "sigma",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": " ",
}
_ELLIPSIS = "…"


def speaks_unicode(encoding: str | None) -> bool:
    """Return whether an output encoding holds the characters that reports use; an unknown encoding does not."""
    try:
        "▁█→…".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def clean(text: str, *, ascii: bool = False) -> str:  # noqa: A002 - the word that users know
    """Return `text` as one line that a terminal prints as it stands: no line breaks, no control characters.

    Samples come from a model, so they may hold anything, escape sequences of terminals included.
    """
    line = " ".join(text.split())
    if ascii:
        line = "".join(MAPPED_TO_ASCII.get(character, character) for character in line)
        return "".join(c if " " <= c <= "~" else _escape(c) for c in line)
    # Cc, Cf, Cs, Co, Cn: control and formatting characters, surrogates and what no font has
    return "".join(_escape(c) if unicodedata.category(c).startswith("C") else c for c in line)


def columns(text: str) -> int:
    """Return how many columns of a terminal `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def pad(text: str, width: int) -> str:
    """Return `text` filled with spaces to `width` columns."""
    return text + " " * (width - columns(text))


def cut(text: str, width: int, *, ascii: bool = False) -> str:  # noqa: A002
    """Return `text` in at most `width` columns; what is cut off is marked."""
    if columns(text) <= width:
        return text
    mark = "..." if ascii else _ELLIPSIS
    return _head(text, width - len(mark))[0].rstrip() + mark


def wrap(text: str, width: int) -> list[str]:
    """Return `text` as lines of at most `width` columns, broken at spaces, and within a word only if it must be.

    Runs of spaces within a line are kept: they align columns.
    """
    lines: list[str] = []
    while columns(text) > width:
        head, _ = _head(text, width + 1)
        at = head.rstrip().rfind(" ") if not head.endswith(" ") else len(head.rstrip())
        if at <= 0 or not head[:at].strip():
            head, rest = _head(text, width)
            lines.append(head)
            text = rest
        else:
            lines.append(text[:at].rstrip())
            text = text[at:].lstrip(" ")
    return [*lines, text] if text or not lines else lines


def hang(
    label: str, paragraphs: Iterable[str], *, indent: str = "", label_width: int, width: int, further: int = 0
) -> list[str]:
    """Return lines with `label` before the first and the texts in a column of their own.

    Args:
        label: what stands on the left of the first line.
        paragraphs: each begins a new line.
        indent: what stands left of everything.
        label_width: columns of the label and the gap after it.
        width: columns of a whole line.
        further: columns by which the second and later lines of a paragraph stand further to the right.
    """
    room = width - len(indent) - label_width
    pieces: list[str] = []
    for paragraph in paragraphs:
        first, *rest = wrap(paragraph, room)
        if rest and further:
            rest = wrap(paragraph[len(first) :].lstrip(" "), room - further)
        for line in [first, *(" " * further + line for line in rest)]:
            left = pad(label, label_width) if not pieces else " " * label_width
            pieces.append((indent + left + line).rstrip())
    return pieces


def _head(text: str, width: int) -> tuple[str, str]:
    """Return the longest start of `text` in `width` columns, one character at least, and what is left."""
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > width and index:
            return text[:index], text[index:]
    return text, ""


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
