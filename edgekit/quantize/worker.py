"""The quantization engine as a worker. Verb: ``quantize``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.quantize.engine import quantize as run_engine
from edgekit.quantize.observe import Feed
from edgekit_worker import WorkerError


def quantize(request: dict[str, Any], progress: Callable[[float, str], None]) -> dict[str, Any]:
    """See `edgekit.quantize.engine.quantize`; paths are strings, feeds are tables."""
    feeds = [
        Feed(
            stack=Path(feed["path"]),
            shape=tuple(feed["shape"]),
            permutation=tuple(feed["permutation"]),
        )
        for feed in request["feeds"]
    ]
    outputs = {scheme: Path(path) for scheme, path in request["outputs"].items()}
    keep = request.get("keep_prepared")
    try:
        outcome = run_engine(
            Path(request["artifact"]),
            outputs,
            feeds=feeds,
            work=Path(request["work"]),
            effort=request.get("effort", "balanced"),
            method=request.get("ranges", "auto"),
            keep_prepared=Path(keep) if keep else None,
            progress=progress,
        )
    except EdgekitError as error:
        raise WorkerError(error.cause, cure=error.cure, kind=error.kind) from error
    passes = [asdict(result) for result in outcome.passes]
    return {"failures": outcome.failures, "options": {"passes": passes}}
