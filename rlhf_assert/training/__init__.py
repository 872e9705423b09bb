"""Scenarios, what trains them, and the processes in which they are trained."""
