"""Why a check failed: hypotheses put to the run's own data.

Each hypothesis comes to a `Cause`, to `RuledOut`, or to None where the data is silent. What is ruled out is told beside
the cause. Causes explain what checks decided; they never ask a check.
"""
