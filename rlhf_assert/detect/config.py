"""What a project sets about detection: `[tool.rlhf-assert]` in its pyproject.toml.

[tool.rlhf-assert]
false-alarms = { warning = 0.05, critical = 0.005 }   # shares of healthy runs that may be flagged
anomaly-threshold = 20                                # z-score, standard deviations
thresholds = { kl_div = 8 }                           # z-score by metric
checks = { kl-runaway = 2.0, trust-region = false, level-shift = true }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.zscore import THRESHOLD
from rlhf_assert.errors import UsageError, suggest
from rlhf_assert.metrics import METRICS

CHECKS = {
    "non-finite": "",
    "step-one": "",
    "no-update": "",
    "no-variance": "",
    "lost-variance": "",
    "contradictions": "",
    "frozen": "",
    "kl-runaway": "limit in nats",
    "entropy": "",
    "truncation": "",
    "trust-region": "limit of approx_kl in nats",
    "critic": "",
    "explosion": "times the median",
    "preference-loss": "",
    "loss-rise": "",
    "reward-collapse": "spreads below the level",
    "reward-below-start": "",
    "update-spike": "",
    "level-shift": "spreads from the level; off unless named",
    "z-score": "",
}
"""Name of each detector -> what a number given for it means; empty where it can only be turned on or off."""

_KEYS = ("false-alarms", "anomaly-threshold", "thresholds", "checks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be set about detection.

    Attributes:
        warning: share of healthy runs that may show a warning or worse.
        critical: share of healthy runs that may show a critical.
        anomaly_threshold: standard deviations from which a single value is a z-score anomaly.
        thresholds: the same by metric; infinity turns a metric off.
        checks: name of a check -> its own threshold, False to turn it off, True to turn it on.
    """

    warning: float = 0.05
    critical: float = 0.005
    anomaly_threshold: float = THRESHOLD
    thresholds: Mapping[str, float] = field(default_factory=dict)
    checks: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget()
        for metric in self.thresholds:
            if metric not in METRICS:
                raise UsageError(f"thresholds: unknown metric {metric!r}{suggest(metric, METRICS)}")
        for name, value in self.checks.items():
            if name not in CHECKS:
                raise UsageError(f"checks: unknown check {name!r}{suggest(name, CHECKS)}")
            if not isinstance(value, bool) and not (CHECKS[name] and value > 0):
                why = "its threshold must be above 0" if CHECKS[name] else "it takes true or false, no threshold"
                raise UsageError(f"checks: {name} = {value}, but {why}")

    def budget(self) -> Budget:
        """Return a fresh budget for one run."""
        return Budget(self.warning, self.critical)

    def wants(self, check: str, *, by_default: bool = True) -> bool:
        """Return whether a check is on."""
        return self.checks.get(check, by_default) is not False

    def threshold(self, check: str) -> float | None:
        """Return the threshold that was given for a check."""
        value = self.checks.get(check)
        return None if value is None or isinstance(value, bool) else float(value)


def read_settings(path: Path) -> Settings:
    """Return the settings of a pyproject.toml; the defaults where the file or its table is absent.

    Raises:
        UsageError: no valid TOML, an unknown key, or a value that cannot be right; the message names the file.
    """
    if not path.is_file():
        return Settings()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("rlhf-assert", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    return settings_from(table, f"{path}, [tool.rlhf-assert]")


def settings_from(table: Mapping[str, Any], source: str) -> Settings:
    """Return the settings of a table with the keys of `[tool.rlhf-assert]`.

    Raises:
        UsageError: an unknown key, or a value that cannot be right; the message begins with `source`.
    """
    for key in table:
        if key not in _KEYS:
            raise UsageError(f"{source}: unknown key {key!r}{suggest(key, _KEYS)}")
    rates = _table(table, "false-alarms", source)
    for key in rates:
        if key not in {"warning", "critical"}:
            raise UsageError(f"{source}: unknown key false-alarms.{key}{suggest(key, ('warning', 'critical'))}")
    thresholds, checks = _table(table, "thresholds", source), _table(table, "checks", source)
    single = {"anomaly-threshold": table["anomaly-threshold"]} if "anomaly-threshold" in table else {}
    for key, value in {**rates, **thresholds, **checks, **single}.items():
        if not isinstance(value, int | float) or (isinstance(value, bool) and key not in checks):
            raise UsageError(f"{source}: {key} = {value!r}, but it must be a number")
    try:
        return Settings(
            **{name: float(rate) for name, rate in rates.items()},
            anomaly_threshold=float(single.get("anomaly-threshold", THRESHOLD)),
            thresholds={metric: float(value) for metric, value in thresholds.items()},
            checks=dict(checks),
        )
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def _table(table: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, Mapping):
        raise UsageError(f"{source}: {key} = {found!r}, but it must be a table")
    return found
