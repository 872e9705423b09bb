"""How many sick trainings `rlhf-assert check` finds, and how late: one JSON line.

    python benchmarks/sick_runs.py [--runs N] [--seed 0] [--out DIR] [--table]

Trains what `varied/troubles.py` spoils and judges the trainer_state.json that the trainer left. A finding counts if its
onset is not before the trouble's. Two kinds of runs are left out of the share: those that no curve gives away without a
sound run beside it (a random reward, noisy labels), and those that the trouble did not harm, as far as the rule of
`varied/health.py` tells. Seed 0 is for development; seed 1 is held out.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "varied"))

from batch import Job, append_line, check, exported_log, share, told, train_all
from health import task_share, unhealthy
from troubles import TROUBLES, configuration_of

from rlhf_assert import Run, read_run

SCENARIOS = Path(__file__).parent / "varied" / "troubles.py"
NUMBERS_PER_SEED = 10_000
PAIRS = [(name, algorithm) for name, trouble in TROUBLES.items() for algorithm in trouble.algorithms]
"""Every trouble of every algorithm that can have it, in any order, so that a part of them is a sample."""

random.Random(0).shuffle(PAIRS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=len(PAIRS), help="default: every trouble once")
    parser.add_argument("--seed", type=int, default=0, help="0: development; 1: held out")
    parser.add_argument("--out", type=Path, help="keep the run directories here")
    parser.add_argument("--table", action="store_true", help="print a line per run on stderr")
    given = parser.parse_args()
    with nullcontext(given.out) if given.out else tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(given.runs, given.seed, Path(folder))
        train_all(jobs, lambda run: append_line(Path(folder) / "manifest.jsonl", described(run)))
        rows = [described(read_run(job[2])) for job in jobs]
        exports = {export: job[2] for job in jobs if (export := exported_log(job[2]))}
        found = {str(exports[export]): findings for export, findings in check(list(exports))}
    for row in rows:
        all_found = found.get(row["dir"], [])
        row["findings"] = [one for one in all_found if (one["onset"] or row["onset"]) > row["onset"] - row["interval"]]
        row["early"] = [one for one in all_found if one not in row["findings"]]
        if given.table:
            print(line(row), file=sys.stderr)
    visible = [row for row in rows if row["detectable"]]
    print(json.dumps({"benchmark": "sick_runs", "seed": given.seed, "runs": len(rows), **recall(visible)}))


def jobs_of(runs: int, seed: int, folder: Path) -> list[Job]:
    """Every pair once, then with further numbers."""
    jobs = []
    for index in range(runs):
        name, algorithm = PAIRS[index % len(PAIRS)]
        number = seed * NUMBERS_PER_SEED + index // len(PAIRS)
        path = folder / "sick" / f"{name}-{algorithm}-{number}"
        steps = configuration_of(name, algorithm, number).steps
        jobs.append((SCENARIOS, f"{name}-{algorithm}", path, number, steps))
    return jobs


def described(run: Run) -> dict[str, Any]:
    """What a run is, and what became of it."""
    name, algorithm = next((name, algorithm) for name, algorithm in PAIRS if run.scenario == f"{name}-{algorithm}")
    trouble = TROUBLES[name]
    steps = int(run.info["steps"])
    effect = unhealthy(run)
    return {
        "dir": str(run.path),
        "algorithm": algorithm,
        "label": "sick",
        "what": name,
        "onset": steps // 2 + 1 if trouble.from_middle else 1,
        "detectable": trouble.detectable and (trouble.always or bool(effect)),
        "steps": steps,
        "interval": configuration_of(name, algorithm, int(run.seed or 0)).arguments["logging_steps"],
        "effect": effect,
        "task": task_share(run),
        "export": str(exported_log(run.path) or ""),
    }


def recall(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    def found(least: tuple[str, ...]) -> int:
        return sum(any(one["severity"] in least for one in row["findings"]) for row in rows)

    missed = [Path(row["dir"]).name for row in rows if not row["findings"]]
    return {
        "detectable": len(rows),
        "found": share(found(("warning", "critical")), len(rows)),
        "critical": share(found(("critical",)), len(rows)),
        "missed": missed,
    }


def line(row: Mapping[str, Any]) -> str:
    marks = [told(one) for one in row["findings"]] or ["-"]
    marks += [f"(early: {told(one)})" for one in row["early"]]
    return " | ".join(
        [
            f"{row['what']:16}{row['algorithm']:11}{row['steps']:4}/{row['interval']:<3}@{row['onset']:<4}",
            f"{'' if row['detectable'] else 'left out; '}{row['effect'] or 'no harm'}; task {row['task']}",
            "; ".join(marks),
        ]
    )


if __name__ == "__main__":
    main()
