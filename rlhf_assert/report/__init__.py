"""What a person reads: diagnoses, the health section, the live line, GitHub's annotations and the HTML page.

Everything here formats; nothing judges, nothing raises about health, and nothing uses colour.
"""
