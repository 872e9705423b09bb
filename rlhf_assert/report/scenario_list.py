"""The list of scenarios: what can be trained here, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rlhf_assert.report.layout import clean, hang
from rlhf_assert.training.locator import unavailable
from rlhf_assert.training.scenario import Scenario


def entries(scenarios: Iterable[Scenario]) -> list[dict[str, Any]]:
    """Return name, backend, steps, learns and tags of each scenario, and why it is `unavailable` here, or None."""
    return [
        {
            "name": scenario.name,
            "backend": scenario.backend,
            "steps": scenario.steps,
            "learns": scenario.learns,
            "tags": list(scenario.tags),
            "unavailable": unavailable(scenario),
        }
        for scenario in scenarios
    ]


def listing(listed: Iterable[dict[str, Any]], *, width: int, ascii: bool = False) -> list[str]:  # noqa: A002
    """Return a line for each of `entries`, below a heading."""
    rows = list(listed)
    name_width = max(map(len, ("scenario", *(str(entry["name"]) for entry in rows)))) + 2
    lines = [f"{'scenario':{name_width}}{'backend':10}{'steps':>5}  {'learns':18}available"]
    for entry in rows:
        learns = str(entry["learns"] or "-")
        left = f"{entry['name']:{name_width}}{entry['backend']:10}{entry['steps']:>5}  {learns:18}"
        text = "yes" if entry["unavailable"] is None else f"no: {entry['unavailable']}"
        said = clean(text, ascii=ascii)
        lines += hang(left, [said], label_width=len(left), width=max(width, len(left) + 30))
    return lines
