"""What is set about detection: `[tool.rlhf-assert]` of a pyproject.toml. Each run keeps it in its run.json.

[tool.rlhf-assert]
false-alarms = { warning = 0.05, critical = 0.005 }   # shares of healthy runs that may be flagged
anomaly-threshold = 20                                # z-score, standard deviations
thresholds = { kl_div = 8 }                           # z-score by metric
detectors = { kl-runaway = 2.0, trust-region = false, level-shift = true }
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from rlhf_assert.detect.budget import CRITICAL, WARNING, Budget
from rlhf_assert.detect.detector_registry import added_detectors, known_detectors
from rlhf_assert.detect.detectors.z_score import THRESHOLD
from rlhf_assert.errors import UnreadableRun, UsageError, suggest
from rlhf_assert.metrics import METRICS, canonical_name

_KEYS = ("false-alarms", "anomaly-threshold", "thresholds", "detectors")
_DEPRECATED = "checks"
"""The key of `detectors` before version 0.1; tables that have it, such as those of old runs, are still read."""
_ADDED = "added-detectors"
"""A run names here those of its `detectors` that others have added. Who reads the run may not have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may be set about detection.

    Attributes:
        warning: share of healthy runs that may show a warning or worse.
        critical: share of healthy runs that may show a critical.
        anomaly_threshold: standard deviations from which a single value is a z-score anomaly.
        thresholds: the same by metric; infinity turns a metric off.
        detectors: name of a detector -> its own threshold, False to turn it off, True to turn it on.
        added: names among `detectors` that are right although they may be unknown here: a run that was trained
            elsewhere brings the names of detectors that others have added there.
        checks: the former name of `detectors`; deprecated.
    """

    warning: float = WARNING
    critical: float = CRITICAL
    anomaly_threshold: float = THRESHOLD
    thresholds: Mapping[str, float] = field(default_factory=dict)
    detectors: Mapping[str, float | bool] = field(default_factory=dict)
    added: frozenset[str] = frozenset()
    checks: InitVar[Mapping[str, float | bool] | None] = None

    def __post_init__(self, checks: Mapping[str, float | bool] | None) -> None:
        if checks:
            object.__setattr__(self, "detectors", {**checks, **self.detectors})
        self.budget()
        for metric, limit in {"anomaly-threshold": self.anomaly_threshold, **self.thresholds}.items():
            if metric in self.thresholds and metric not in METRICS:
                known = canonical_name(metric)
                hint = f" (did you mean {known}?)" if known else suggest(metric, METRICS)
                raise UsageError(f"thresholds: unknown metric {metric!r}{hint}")
            if not limit > 0:
                raise UsageError(f"{metric} = {limit}, but a threshold must be above 0")
        specs = known_detectors() if self.detectors else {}
        for name, value in self.detectors.items():
            if name in self.added and name not in specs:
                continue
            if name not in specs:
                raise UsageError(f"detectors: unknown detector {name!r}{suggest(name, specs)}")
            knob = specs[name].knob
            if not isinstance(value, bool) and not (knob and value > 0):
                why = "its threshold must be above 0" if knob else "it takes true or false, no threshold"
                raise UsageError(f"detectors: {name} = {value}, but {why}")

    def budget(self) -> Budget:
        """Return a fresh budget for one run."""
        return Budget(self.warning, self.critical)

    def wants(self, name: str) -> bool:
        """Return whether a detector is on."""
        value = self.detectors.get(name)
        if value is not None:
            return value is not False
        spec = known_detectors().get(name)
        return spec is None or spec.on_by_default

    def threshold(self, name: str) -> float | None:
        """Return the threshold that was given for a detector."""
        value = self.detectors.get(name)
        return None if value is None or isinstance(value, bool) else float(value)

    def table(self) -> dict[str, Any]:
        """Return the settings with the keys of `[tool.rlhf-assert]`, all of them."""
        added = sorted(self.detectors.keys() & (self.added | added_detectors().keys()))
        return {
            "false-alarms": {"warning": self.warning, "critical": self.critical},
            "anomaly-threshold": self.anomaly_threshold,
            "thresholds": dict(self.thresholds),
            "detectors": dict(self.detectors),
            **({_ADDED: added} if added else {}),
        }

    def changed_by(self, table: Mapping[str, Any], source: str) -> Settings:
        """Return the settings with the keys that a table has in place of their own.

        Raises:
            UsageError: see `settings_from`.
        """
        own, table = self.table(), _renamed(table, source)
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
    nearest = next((file for file in files if os.path.isfile(file)), None)  # noqa: PTH113 - Path's own raises on a folder that is closed
    return Settings() if nearest is None else read_settings(nearest)


def settings_of(info: Mapping[str, Any]) -> Settings:
    """Return the settings that a run's `run.json` holds; the defaults where it holds none.

    Raises:
        UnreadableRun: this version does not know them.
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
    table = _renamed(table, source)
    for key in table:
        if key not in (*_KEYS, _ADDED):
            raise UsageError(f"{source}: unknown key {key!r}{suggest(key, _KEYS)}")
    rates = _table(table, "false-alarms", source)
    for key in rates:
        if key not in {"warning", "critical"}:
            raise UsageError(f"{source}: unknown key false-alarms.{key}{suggest(key, ('warning', 'critical'))}")
    thresholds, detectors = _table(table, "thresholds", source), _table(table, "detectors", source)
    single = {"anomaly-threshold": table["anomaly-threshold"]} if "anomaly-threshold" in table else {}
    for group in (rates, thresholds, detectors, single):
        for key, value in group.items():
            if not isinstance(value, int | float) or (isinstance(value, bool) and group is not detectors):
                raise UsageError(f"{source}: {key} = {value!r}, but it must be a number")
    try:
        return Settings(
            warning=float(rates.get("warning", WARNING)),
            critical=float(rates.get("critical", CRITICAL)),
            anomaly_threshold=float(single.get("anomaly-threshold", THRESHOLD)),
            thresholds={metric: float(value) for metric, value in thresholds.items()},
            detectors=dict(detectors),
            added=frozenset(map(str, table.get(_ADDED, ()))),
        )
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def _renamed(table: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return a table with the key `detectors` in place of the deprecated one; where it has both, `detectors` wins."""
    if _DEPRECATED not in table:
        return table
    renamed = {key: value for key, value in table.items() if key != _DEPRECATED}
    both = {**_table(table, _DEPRECATED, source), **_table(table, "detectors", source)}
    return {**renamed, "detectors": both}


def _table(table: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, Mapping):
        raise UsageError(f"{source}: {key} = {value!r}, but it must be a table")
    return value


def _decoded(value: Any) -> Any:
    """Return JSON with the infinities that are text there as numbers: an infinite threshold turns a metric off."""
    if isinstance(value, Mapping):
        return {key: _decoded(item) for key, item in value.items()}
    return float("inf") if value == "inf" else value
