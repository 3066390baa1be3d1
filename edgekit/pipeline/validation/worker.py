"""The engine as a worker. Verbs: ``open``, ``measure``, ``compare``, ``words``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A worker's folder is put on the path; a user's metric may well be in a module named `data`.
sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]

from edgekit.errors import EdgekitError
from edgekit.pipeline.validation.engine import Chunk, Engine
from edgekit.pipeline.validation.job import Job
from edgekit_worker import WorkerError

_engines: list[Engine] = []
"""The one that `open` made."""


def open(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:  # noqa: A001
    """Take a job, and the candidates that are not to be run."""
    try:
        _engines[:] = [Engine(Job.read(Path(request["job"])), skip=request["skip"])]
    except EdgekitError as error:
        raise _told(error) from error
    return {}


def measure(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Run the candidates on a chunk and, where the reference's outputs are known, compare.

    Returns:
        ``done``; where it is false, ``key``, ``digests`` and ``ids`` of the samples and their
        ``inputs`` as stacks, for the reference. Then ask again.
    """
    try:
        engine, chunk = _load(request)
        reference = engine.reference(chunk) if chunk.places else []
        if reference is None:
            return _asking(engine, chunk)
        engine.compare(chunk, reference, Path(request["rows"]))
    except EdgekitError as error:
        raise _told(error) from error
    return {"done": True}


def words(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """As `measure`, but what everybody says about each sample, under ``samples``."""
    try:
        engine, chunk = _load(request)
        reference = engine.reference(chunk) if chunk.places else []
        if reference is None:
            return _asking(engine, chunk)
        return {"done": True, "samples": engine.words(chunk, reference)}
    except EdgekitError as error:
        raise _told(error) from error


def _load(request: dict[str, Any]) -> tuple[Engine, Chunk]:
    (engine,) = _engines
    return engine, engine.load(request["chunk"], request["places"])


def _asking(engine: Engine, chunk: Chunk) -> dict[str, Any]:
    return {
        "done": False,
        "key": chunk.key,
        "digests": chunk.digests,
        "ids": chunk.ids,
        "inputs": engine.write_inputs(chunk),
    }


def _told(error: EdgekitError) -> WorkerError:
    return WorkerError(error.cause, cure=error.cure, kind=error.kind)
