"""Puts the report of a validation into a page of the docs.

python -m rlhf_assert.validation.publish OUT/validation.md docs/detectors.md
"""

from __future__ import annotations

import sys
from pathlib import Path

from rlhf_assert.errors import UsageError

BEGIN = "<!-- validation: everything down to the end mark is written by rlhf-assert validate -->"
END = "<!-- validation: end -->"


def published(page: str, report: str) -> str:
    """Return a page with a report between its marks, in place of the one that is there.

    Raises:
        UsageError: the page does not hold both marks, in order.
    """
    before, begun, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not begun or not ended:
        raise UsageError(f"no place for the report: the page needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{report.strip()}\n{END}{after}"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(
        published(target.read_text(encoding="utf-8"), source.read_text(encoding="utf-8")), encoding="utf-8"
    )
