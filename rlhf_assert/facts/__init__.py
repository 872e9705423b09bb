"""What can be computed from a run: each fact once per run, however many checks and causes ask for it."""
