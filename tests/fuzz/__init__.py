"""Malformed inputs for everything that reads: generators, an oracle, and the cases once found."""
