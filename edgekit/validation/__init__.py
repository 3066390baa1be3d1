"""Comparing a candidate with its reference: alignment, parity figures, gates, verdicts."""
