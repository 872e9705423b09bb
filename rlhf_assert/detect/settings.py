"""What is set about detection: `[tool.rlhf-assert]` of a pyproject.toml, kept with each run in its run.json.

[tool.rlhf-assert]
false-alarms = { warning = 0.05, critical = 0.005 }   # shares of healthy runs that may be flagged
anomaly-threshold = 20                                # z-score, standard deviations
thresholds = { kl_div = 8 }                           # z-score by metric
checks = { kl-runaway = 2.0, trust-region = false, level-shift = true }
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detectors.z_score import THRESHOLD
from rlhf_assert.errors import UnreadableRun, UsageError, suggest
from rlhf_assert.metrics import METRICS, canonical_name

CHECKS = {
    "non-finite": "",
    "step-one": "",
    "no-update": "",
    "no-variance": "",
    "lost-variance": "",
    "contradictions": "",
    "frozen": "",
    "vanished": "",
    "kl-runaway": "limit in nats",
    "entropy": "",
    "truncation": "",
    "trust-region": "limit of approx_kl in nats",
    "rollout-mismatch": "",
    "critic": "",
    "explosion": "times the median",
    "preference-loss": "",
    "preference-reversal": "",
    "loss-rise": "",
    "reward-collapse": "spreads below the level",
    "reward-below-start": "",
    "reward-drift": "spreads that the line falls by",
    "reward-follows-length": "",
    "oscillation": "",
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
        for metric, limit in {"anomaly-threshold": self.anomaly_threshold, **self.thresholds}.items():
            if metric in self.thresholds and metric not in METRICS:
                known = canonical_name(metric)
                hint = f" (did you mean {known}?)" if known else suggest(metric, METRICS)
                raise UsageError(f"thresholds: unknown metric {metric!r}{hint}")
            if not limit > 0:
                raise UsageError(f"{metric} = {limit}, but a threshold must be above 0")
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

    def table(self) -> dict[str, Any]:
        """Return the settings with the keys of `[tool.rlhf-assert]`, all of them."""
        return {
            "false-alarms": {"warning": self.warning, "critical": self.critical},
            "anomaly-threshold": self.anomaly_threshold,
            "thresholds": dict(self.thresholds),
            "checks": dict(self.checks),
        }

    def changed_by(self, table: Mapping[str, Any], source: str) -> Settings:
        """Return the settings with the keys that a table has in place of their own.

        Raises:
            UsageError: see `settings_from`.
        """
        own = self.table()
        merged = {
            key: {**own[key], **value} if isinstance(value, Mapping) and isinstance(own.get(key), dict) else value
            for key, value in table.items()
        }
        return settings_from({**own, **merged}, source)


def project_settings() -> Settings:
    """Return the settings of the nearest pyproject.toml, in the working folder or above it.

    Raises:
        UsageError: see `read_settings`.
    """
    here = Path.cwd()
    files = (folder / "pyproject.toml" for folder in (here, *here.parents))
    found = next((file for file in files if os.path.isfile(file)), None)  # noqa: PTH113 - Path's own raises on a folder that is closed
    return Settings() if found is None else read_settings(found)


def settings_of(info: Mapping[str, Any]) -> Settings:
    """Return the settings that a run's `run.json` holds; the defaults where it holds none.

    Raises:
        UnreadableRun: they are none that this version knows.
    """
    try:
        return settings_from(_decoded(_table(info, "detection", "run.json")), "run.json, detection")
    except UsageError as error:
        raise UnreadableRun(str(error)) from None


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
    for group in (rates, thresholds, checks, single):
        for key, value in group.items():
            if not isinstance(value, int | float) or (isinstance(value, bool) and group is not checks):
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


def _decoded(value: Any) -> Any:
    """Return JSON with the infinities that are text there as numbers: an infinite threshold turns a metric off."""
    if isinstance(value, Mapping):
        return {key: _decoded(item) for key, item in value.items()}
    return float("inf") if value == "inf" else value
