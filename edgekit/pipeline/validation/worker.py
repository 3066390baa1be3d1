"""The engine as a worker. Verbs: ``prepare``, ``measure``, ``compare``, ``words``."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A worker's folder is put on the path; a user's metric may well be in a module named `data`.
sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]

from edgekit.errors import EdgekitError  # noqa: E402
from edgekit.measure.job import MeasuringJob  # noqa: E402
from edgekit.pipeline.validation.device_answers import DeviceEngine  # noqa: E402
from edgekit.pipeline.validation.engine import Chunk, MeasuringEngine  # noqa: E402
from edgekit_worker import WorkerError  # noqa: E402

_engines: list[MeasuringEngine] = []
"""The one that `prepare` made."""
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT_BYTES = 64 << 20


def _keep_memory() -> None:
    """Keep freed arrays of a sample's size instead of giving their pages back to the kernel.

    Otherwise every sample pays for new pages, which takes longer than computing what they hold.
    Where the C library is another one, nothing happens.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)


_keep_memory()


def prepare(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """Take a job, and the candidates that are not to be run."""
    try:
        job = MeasuringJob.read(Path(request["job"]))
        kind = DeviceEngine if job.device_answers else MeasuringEngine
        _engines[:] = [kind(job, marker=Path(request["marker"]), skip=request["skip"])]
    except EdgekitError as error:
        raise _told(error) from error
    return {}


def measure(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """Run the candidates on a chunk and, where the reference's outputs are known, compare.

    Returns:
        ``failed``: candidates that the runtime refused to run, with the reason; they are not run
        again. ``done``; where it is false, what is missing: what the ``reference`` or the
        ``device`` says; with ``digests`` and ``ids`` of the samples and their ``inputs`` as stacks
        for both. Then ask again. ``key`` is what a chunk's outputs are found by.
    """
    try:
        engine, chunk = _load(request)
        there, reference = engine.collect(chunk), _reference(engine, chunk)
        if reference is None or not there:
            return _asking(engine, chunk, reference=reference is None, device=not there)
        engine.compare(chunk, reference, Path(request["rows"]))
    except EdgekitError as error:
        raise _told(error) from error
    return {"done": True, "failed": chunk.failed, "key": chunk.key}


def words(request: dict[str, Any], _progress: Callable[..., None]) -> dict[str, Any]:
    """As `measure`, but what everybody says about each sample, under ``samples``."""
    try:
        engine, chunk = _load(request)
        there, reference = engine.collect(chunk), _reference(engine, chunk)
        if reference is None or not there:
            return _asking(engine, chunk, reference=reference is None, device=not there)
        samples = engine.words(chunk, reference)
    except EdgekitError as error:
        raise _told(error) from error
    return {"done": True, "failed": chunk.failed, "key": chunk.key, "samples": samples}


def _load(request: dict[str, Any]) -> tuple[MeasuringEngine, Chunk]:
    (engine,) = _engines
    return engine, engine.load(request["chunk"], request["places"])


def _reference(engine: MeasuringEngine, chunk: Chunk) -> list[Any] | None:
    return engine.reference(chunk) if chunk.places else []


def _asking(
    engine: MeasuringEngine, chunk: Chunk, *, reference: bool, device: bool
) -> dict[str, Any]:
    return {
        "done": False,
        "reference": reference,
        "device": device,
        "failed": chunk.failed,
        "key": chunk.key,
        "digests": chunk.digests,
        "ids": chunk.ids,
        "inputs": engine.write_inputs(chunk),
    }


def _told(error: EdgekitError) -> WorkerError:
    return WorkerError(error.cause, cure=error.cure, kind=error.kind)
