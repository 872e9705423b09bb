"""What is asked of a run: one question per module."""
