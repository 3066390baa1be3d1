"""Isolated environments (uv) and the worker processes that run converters in them."""
