"""Judging what somebody names by its path: which logs it stands for, and the answer for each."""
