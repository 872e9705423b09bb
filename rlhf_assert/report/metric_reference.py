"""The reference page of the metrics, written from the tables that the code uses.

python -m rlhf_assert.report.metric_reference > docs/metrics.md
"""

from __future__ import annotations

import sys

from rlhf_assert.metrics import ALIASES, DERIVED, METRICS

DIRECTIONS = {"up": "rises", "down": "falls", "steady": "stays", "any": "depends on the algorithm"}


def metrics_page() -> str:
    """Return `docs/metrics.md`: the canonical metrics, the derived ones, and the keys of each framework."""
    lines = [
        "# Metrics",
        "",
        "<!-- Written by `python -m rlhf_assert.report.metric_reference`; a test compares the two. -->",
        "",
        "Every key that a trainer logs is kept under its own name. A key of the tables below is also kept under its",
        "canonical name, which is what checks, reports and `run[...]` use. A key that no table knows is listed as",
        "unmapped (`Run.unmapped`).",
        "",
        "## Canonical metrics",
        "",
        "| name | printed as | unit | in a sound training | derived from |",
        "|---|---|---|---|---|",
    ]
    for metric in METRICS.values():
        derived = " / ".join(f"`{part}`" for part in DERIVED.get(metric.name, ()))
        cells = (f"`{metric.name}`", metric.label, metric.unit, DIRECTIONS[metric.direction], derived)
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "`kl_div` is the distance to the reference, `approx_kl` that to the policy that sampled; they are never mixed.",
        "Where no `policy_loss` is logged (GRPO and the like), the ratios take `loss` in its place.",
    ]
    for framework, table in ALIASES.items():
        lines += [
            "",
            f"## Keys of {framework}",
            "",
            "Where several keys of one row mean the same metric, the upper one of this table wins.",
            "",
            "| key | canonical name |",
            "|---|---|",
            *(f"| `{key}` | `{name}` |" for key, name in table.items()),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
