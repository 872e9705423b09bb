"""How files are written: whole lines at the end of a file, or a whole JSON file at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from rlhf_assert.errors import RecordingError
from rlhf_assert.recording.encoding import encode, plain


class AppendOnlyFile:
    """A file to which whole lines are appended, each in one write.

    Raises:
        RecordingError: a line could not be written; the file ends with the last complete line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordingError(f"{path}: cannot be written: {error.strerror}") from error

    def append(self, lines: bytes) -> None:
        """Append complete lines, or nothing."""
        try:
            written = os.write(self._descriptor, lines)
        except OSError as error:
            raise self._full(error.strerror or "write failed") from error
        if written != len(lines):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise self._full("no space left")

    def close(self) -> None:
        """Close the file; a later append raises."""
        descriptor, self._descriptor = self._descriptor, -1  # the number may soon be another file's
        if descriptor >= 0:
            os.close(descriptor)

    def _full(self, reason: str) -> RecordingError:
        return RecordingError(
            f"{self.path}: cannot write: {reason}; what was recorded so far is kept: free space, or choose another "
            "folder, and run again"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step, so that a reader never sees half of it.

    Raises:
        RecordingError: the file cannot be written; the former content stays.
    """
    draft = path.with_suffix(".draft")
    try:
        draft.write_bytes(orjson.dumps(plain(encode(content)), option=orjson.OPT_INDENT_2, default=str))
        draft.replace(path)
    except OSError as error:
        raise RecordingError(
            f"{path}: cannot be written: {error.strerror}; what was recorded before is kept"
        ) from error
