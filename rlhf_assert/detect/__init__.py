"""Detectors: causal, streaming, one phenomenon per module."""

from __future__ import annotations

from rlhf_assert.detect.anomaly import Anomaly, Detector, Severity

__all__ = ["Anomaly", "Detector", "Severity"]
