"""Planted lies: files, data and questions that must never end in PASS, and their honest twins."""
