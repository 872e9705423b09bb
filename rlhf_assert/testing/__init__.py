"""For tests of detectors, anybody's: made-up data, hypothesis strategies that draw it, and a battery of properties."""
