"""What was found in several runs, one cause counted once.

Which failed checks have one cause is the verdict's to say (`Verdict.chains`); what a failed check found in its other
metrics follows from it too. Consequences are listed below what they follow, and not counted. The same check of several
seeds is one finding, told by the seed that showed it first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rlhf_assert.checked import Check
from rlhf_assert.detect import Anomaly
from rlhf_assert.metrics import label
from rlhf_assert.report.wording import mark, warnings
from rlhf_assert.verdict import Chain, Verdict


@dataclass(frozen=True, slots=True)
class ReportedCause:
    """One cause in one scenario.

    Attributes:
        mark: `CRIT` or `warn`.
        scenario: name of the scenario.
        check: name of the check.
        text: the headline without the check's name, the seeds, the cause.
        onset: the first step that shows it, over all seeds; infinity where it has none.
        consequences: (check or metric, text), by onset.
    """

    mark: str
    scenario: str
    check: str
    text: str
    onset: float
    consequences: tuple[tuple[str, str], ...] = ()


def reported_causes(verdicts: Sequence[Verdict]) -> tuple[ReportedCause, ...]:
    """Return what was found, failures before warnings, each by onset."""
    causes: list[ReportedCause] = []
    for scenario in dict.fromkeys(verdict.run.title for verdict in verdicts):
        causes += _of_scenario(scenario, [verdict for verdict in verdicts if verdict.run.title == scenario])
    return tuple(sorted(causes, key=lambda cause: (cause.mark != "CRIT", cause.onset)))


def _of_scenario(scenario: str, verdicts: Sequence[Verdict]) -> list[ReportedCause]:
    failed: dict[str, list[tuple[Verdict, Chain]]] = {}
    warned: dict[str, list[tuple[Verdict, Check]]] = {}
    for verdict in verdicts:
        for chain in verdict.chains:
            failed.setdefault(chain.root.name, []).append((verdict, chain))
        for check in verdict.checks:
            if mark(check) == "warn":
                warned.setdefault(check.name, []).append((verdict, check))
    causes = []
    for name, chains in failed.items():
        lead = min((chain for _, chain in chains), key=lambda chain: _onset(chain.root))
        seeds = _seeds([verdict for verdict, _ in chains], verdicts)
        text = _join(without_name(lead.root), seeds, str(lead.root.cause or ""))
        causes.append(ReportedCause("CRIT", scenario, name, text, _onset(lead.root), _consequences(lead)))
    for name, checks in warned.items():
        first = min((check for _, check in checks), key=_onset)
        text = _join(without_name(first), _seeds([verdict for verdict, _ in checks], verdicts))
        causes.append(ReportedCause("warn", scenario, name, text, _onset(first)))
    return causes


def _consequences(chain: Chain) -> tuple[tuple[str, str], ...]:
    """Return what else the root found, in other metrics than the one that it leads with, and the checks it explains."""
    told: list[tuple[float, str, str]] = []
    seen = set(chain.root.metrics[:1])
    for anomaly in warnings(chain.root) if chain.root.metrics else ():
        if anomaly.metric not in seen:
            seen.add(anomaly.metric)
            told.append((anomaly.onset, label(anomaly.metric), anomaly.summary))
    told += [
        (_onset(check), check.name, f"{without_name(check)}; the same cause, counted once")
        for check in chain.consequences
    ]
    return tuple((name, text) for _, name, text in sorted(told))


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _onset(check: Check) -> float:
    return min((anomaly.onset for anomaly in warnings(check)), default=math.inf)


def without_name(check: Check) -> str:
    """Return what a check says, without the name that stands beside it: a failure's headline, a pass's warnings."""
    if mark(check) == "warn":
        anomalies = warnings(check)
        told = [_told(check, anomaly) for anomaly in anomalies[:2]]
        return _join(*told, f"{len(anomalies) - 2} more" if len(anomalies) > 2 else "")
    for name in (check.name, *(label(metric) for metric in check.metrics[:1])):
        for start in (f"{name}: ", f"{name} "):
            if check.headline.startswith(start):
                return check.headline.removeprefix(start)
    return check.headline


def _told(check: Check, anomaly: Anomaly) -> str:
    word = label(anomaly.metric)
    return anomaly.summary if word == check.name else f"{word} {anomaly.summary}".lstrip()


def _seeds(those: Iterable[Verdict], every: Sequence[Verdict]) -> str:
    if len(every) < 2:
        return ""
    seeds = [str(verdict.run.seed) for verdict in those]
    if len(seeds) == len(every):
        return f"all {len(every)} seeds"
    return f"seed {seeds[0]} only" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
