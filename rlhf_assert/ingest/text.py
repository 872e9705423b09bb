"""Reading text that anybody may have written: bounded, and precise about what is wrong with it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlhf_assert.errors import UnreadableRun

LONGEST_LINE = 64 * 2**20
"""Bytes of a line, or of a whole JSON document's line, that are read at most."""

LARGEST_DOCUMENT = 256 * 2**20
"""Bytes of a JSON document that has to be read as a whole."""

SAMPLE = 2**16
BLOCK = 2**20
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_BOMS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
UTF8_BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Reading:
    """Counts of one file.

    Attributes:
        dropped: lines or entries that hold no record though they should.
    """

    dropped: int = 0


def require_file(path: Path) -> int:
    """Return the size of a regular file.

    Raises:
        UnreadableRun: a device, a pipe or a socket (which might never end), or no permission.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UnreadableRun(error.strerror or str(error)) from error
    mode = status.st_mode
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
        raise UnreadableRun(f"{kinds.get(stat.S_IFMT(mode), 'something else')}, not a file: save it to a file first")
    return status.st_size


def head_of(path: Path) -> bytes:
    """Return the first 64 KiB of a file, without a UTF-8 byte-order mark.

    Raises:
        UnreadableRun: the file cannot be read, or is empty.
    """
    require_file(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(SAMPLE)
    except OSError as error:
        raise UnreadableRun(error.strerror or str(error)) from error
    if not head.strip():
        raise UnreadableRun("no rows" if len(head) < SAMPLE else "no rows in the first 64 KiB: only blanks")
    return head.removeprefix(UTF8_BOM)


def require_text(head: bytes) -> None:
    """Raise UnreadableRun, with the offset, if the start of a file is no UTF-8 text."""
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            raise UnreadableRun(f"{encoding} text: convert it first, iconv -f {encoding} -t UTF-8")
    control = _CONTROL.search(head)
    try:
        head.decode("utf-8")
        wrong = None
    except UnicodeDecodeError as error:
        # the sample may end inside of a character
        wrong = None if error.reason == "unexpected end of data" and len(head) - error.start < 4 else error.start
    offsets = [at for at in (control.start() if control else None, wrong) if at is not None]
    if offsets:
        raise UnreadableRun(f"not text: byte 0x{head[min(offsets)]:02x} at offset {min(offsets)}")


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines, without their ends, of a file as long as it was when it was opened: a log may grow meanwhile.

    Raises:
        UnreadableRun: a line past `LONGEST_LINE`, which is not read to its end; or the disk fails.
    """
    number, size = 0, 0
    rest: list[bytes] = []  # a long line comes in many blocks, which are joined once
    try:
        with path.open("rb") as stream:
            left = whole = os.fstat(stream.fileno()).st_size
            while left > 0 and (block := stream.read(min(left, BLOCK))):
                first, *lines = (block.removeprefix(UTF8_BOM) if left == whole else block).split(b"\n")
                left -= len(block)
                rest.append(first)
                size += len(first)
                if lines:
                    yield b"".join(rest)
                    yield from lines[:-1]
                    number += len(lines)
                    rest, size = lines[-1:], len(lines[-1])
                if size > LONGEST_LINE:
                    raise UnreadableRun(f"line {number + 1} is longer than {LONGEST_LINE // 2**20} MiB: no log")
    except OSError as error:
        raise UnreadableRun(f"cannot be read: {error.strerror or error}") from error
    if size:
        yield b"".join(rest)
