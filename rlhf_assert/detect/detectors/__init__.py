"""The detectors: one phenomenon per module."""
