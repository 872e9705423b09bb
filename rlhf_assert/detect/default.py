"""The detectors that watch a run unless somebody chooses others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlhf_assert.detect.anomaly import Detector
from rlhf_assert.detect.budget import Budget
from rlhf_assert.detect.detector_registry import BUILT_IN, known_detectors
from rlhf_assert.detect.detector_spec import DetectorContext, DetectorSpec
from rlhf_assert.detect.foreign import Unmade
from rlhf_assert.detect.settings import Settings
from rlhf_assert.errors import UsageError


def default_detectors(
    algorithm: str = "",
    config: Mapping[str, Any] | None = None,
    *,
    anomaly_threshold: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    settings: Settings | None = None,
    budget: Budget | None = None,
) -> list[Detector]:
    """Return fresh detectors for one run: our own, then those that others have added, less those that are off.

    Args:
        algorithm: `ppo`, `grpo`, `rloo`, `online-dpo`, `dpo`, `kto`, `reward` or `sft`; empty where it is unknown, and
            then what only holds for one algorithm is not judged.
        config: the trainer's hyper-parameters; without any, identities of step 1 are notes, not failures.
        anomaly_threshold: standard deviations from which a single value is a z-score anomaly.
        thresholds: the same by metric; infinity turns a metric off.
        settings: false-alarm rates per run, and detectors that are off or have their own threshold. The two arguments
            above go before its own.
        budget: the budget that the statistical detectors share. Give your own to ask it afterwards whether they drew on
            it; by default the settings give a fresh one.

    A detector that others wrote and that cannot be made is there as well: it fails at the first row, by name.

    Raises:
        UsageError: a threshold that is not above 0.
    """
    chosen = settings or Settings()
    if anomaly_threshold is not None:
        chosen = replace(chosen, anomaly_threshold=anomaly_threshold)
    context = DetectorContext(
        algorithm=algorithm,
        config=config or {},
        budget=budget or chosen.budget(),
        anomaly_threshold=chosen.anomaly_threshold,
        metric_thresholds={**chosen.thresholds, **(thresholds or {})},
    )
    specs = known_detectors()
    detectors = [
        make_detector(spec, replace(context, threshold=chosen.threshold(spec.name)))
        for spec in specs.values()
        if chosen.detectors.get(spec.name, spec.on_by_default) is not False
    ]
    absent = [name for name in chosen.detectors if name not in specs and chosen.wants(name)]
    return [*detectors, *(Unmade(name, UsageError("no installed package offers it here")) for name in absent)]


def make_detector(spec: DetectorSpec, context: DetectorContext) -> Detector:
    """Return a fresh detector; if one of others cannot be made, a stand-in that fails at the first row by its name."""
    if spec is BUILT_IN.get(spec.name):
        return spec.make(context)
    try:
        return spec.make(context)
    except Exception as error:  # noqa: BLE001 - what others wrote must not cost anybody a training
        return Unmade(spec.name, error)
