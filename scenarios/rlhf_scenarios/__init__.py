"""The scenarios that come with rlhf-assert: one module per algorithm, short enough to copy."""
