"""Detectors: causal, streaming, one phenomenon per module."""

from __future__ import annotations

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity
from rlhf_assert.detect.default import default_detectors
from rlhf_assert.detect.detector_registry import detector
from rlhf_assert.detect.detector_spec import DetectorContext, DetectorSpec
from rlhf_assert.detect.scan import discover, scan

__all__ = [
    "Anomaly",
    "Detector",
    "DetectorContext",
    "DetectorSpec",
    "Severity",
    "default_detectors",
    "detector",
    "discover",
    "scan",
]
