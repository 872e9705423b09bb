"""How good the detectors are, by real trainings: faults that they must find, healthy runs that they must not flag."""
