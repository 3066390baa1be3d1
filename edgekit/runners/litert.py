"""The candidate runner: ai-edge-litert in a process of its own."""

from __future__ import annotations

from pathlib import Path

from edgekit.toolchain.converters import own_worker

LITERT = own_worker(
    "litert",
    Path(__file__).with_name("litert_worker.py"),
    versions=("ai-edge-litert", "numpy"),
)
