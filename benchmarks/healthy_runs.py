"""How often healthy trainings are flagged: one JSON line.

    python benchmarks/healthy_runs.py [--runs 200] [--seed 0] [--out DIR]

Trains configurations drawn around the packaged scenarios (`varied/configurations.py`), as many of each algorithm, and
calls those healthy that pass a rule in which no detector has a part (`varied/health.py`); others are counted apart.
`rlhf-assert check` then judges the recorded run directories, and once more the trainer_state.json that the trainer
left. Seed 0 is for development; seed 1 is held out. Runs that DIR holds already are not trained again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "varied"))

from batch import Job, append_line, check, exported_log, share, told, train_all
from configurations import ALGORITHMS, draw
from health import unhealthy

from rlhf_assert import Run, read_run

SCENARIOS = Path(__file__).parent / "varied" / "trainers.py"
NUMBERS_PER_SEED = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="0 to 6 have been looked at")
    parser.add_argument("--out", type=Path, help="keep the run directories here")
    given = parser.parse_args()
    with nullcontext(given.out) if given.out else tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(given.runs, given.seed, Path(folder))
        train_all(jobs, lambda run: append_line(Path(folder) / "manifest.jsonl", described(run)))
        reasons = {job[2]: unhealthy(read_run(job[2])) for job in jobs}
        healthy = [path for path, reason in reasons.items() if not reason]
        answer = {
            "benchmark": "healthy_runs",
            "seed": given.seed,
            "runs": len(jobs),
            "healthy": len(healthy),
            "unhealthy": {path.name: reason for path, reason in reasons.items() if reason},
            "run_directories": figures(healthy, dict(check(healthy))),
            "exported_logs": figures(healthy, findings_in_exports(healthy)),
        }
    print(json.dumps(answer))


def jobs_of(runs: int, seed: int, folder: Path) -> list[Job]:
    """The algorithms in turn, so that any part of the list is balanced."""
    jobs = []
    for index in range(runs):
        algorithm = ALGORITHMS[index % len(ALGORITHMS)]
        number = seed * NUMBERS_PER_SEED + index // len(ALGORITHMS)
        path = folder / "healthy" / f"{algorithm}-{number}"
        jobs.append((SCENARIOS, f"healthy-{algorithm}", path, number, draw(algorithm, number).steps))
    return jobs


def described(run: Run) -> dict[str, Any]:
    reason = unhealthy(run)
    algorithm = run.path.name.rpartition("-")[0]
    return {
        "dir": str(run.path),
        "algorithm": algorithm,
        "label": "unhealthy" if reason else "healthy",
        "what": reason,
        "onset": None,
        "detectable": None,
    }


def findings_in_exports(healthy: Iterable[Path]) -> dict[Path, list[dict[str, Any]]]:
    exports = {export: path for path in healthy if (export := exported_log(path))}
    return {exports[export]: found for export, found in check(list(exports))}


def figures(healthy: Iterable[Path], findings: Mapping[Path, list[dict[str, Any]]]) -> dict[str, Any]:
    """Counts and shares of flagged runs, in all and by algorithm, and what was found in which."""
    algorithms = Counter(path.name.rpartition("-")[0] for path in healthy)
    flagged = {path.name: found for path, found in findings.items() if found}
    critical = [name for name, found in flagged.items() if found[0]["severity"] == "critical"]
    by_algorithm = Counter(name.rpartition("-")[0] for name in flagged)
    return {
        "judged": len(findings),
        "warned": share(len(flagged), len(findings)),
        "critical": share(len(critical), len(findings)),
        "by_algorithm": {name: f"{by_algorithm[name]}/{count}" for name, count in sorted(algorithms.items())},
        "findings": {name: [told(one) for one in found] for name, found in sorted(flagged.items())},
    }


if __name__ == "__main__":
    main()
