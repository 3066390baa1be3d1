"""Chunks of a validation as a job, on whichever machine: the same stream over fewer chunks."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.contract import Contract
from edgekit.errors import DataError, EdgekitError
from edgekit.files import temporary_folder
from edgekit.measure.job import MeasuringJob
from edgekit.pipeline.validation import prepare
from edgekit.pipeline.validation.engine import open_job_samples
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.store import ReferenceCache, RunStore
from edgekit.pipeline.validation.stream import Stream
from edgekit.plain import from_plain
from edgekit.runners.protocol import Device
from edgekit.sources import digest
from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import Limits, Workshop
from edgekit.types import SilentProgress, TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SharedRun:
    """What all jobs of a validation have in common; paths lead to the same on every machine.

    Attributes:
        key: of the run.
        job: what measuring processes are told, as JSON.
        names: of the candidates.
        digests: of the candidates' files.
        ids: a digest of the samples' names.
        reference: as in `ValidationRequest`, like ``weights``, ``trust_pickle``, ``device``,
            ``timeout``, ``inputs`` and ``limits``.
        reference_digest: of its files.
        embedded: the files' contract, as JSON.
        outputs_key: what kept outputs of the reference are found by.
        processor: of the machine that asks.
        cache_gb: how much the reference's outputs may take on the disk.
    """

    key: str
    job: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    ids: str
    reference: str
    weights: Path | None
    trust_pickle: bool
    device: Device
    timeout: float
    inputs: tuple[TensorSpec, ...]
    limits: Limits
    reference_digest: str | None
    embedded: str | None
    outputs_key: str | None
    processor: str
    cache_gb: float


@dataclass(frozen=True, kw_only=True)
class ChunkShare:
    """A job's share of a run.

    Attributes:
        run: what all have in common.
        chunks: the samples' places, by chunk.
        dropped: candidates that are not run any more, and why.
        processes: that measure.
    """

    run: SharedRun
    chunks: Mapping[str, tuple[int, ...]]
    dropped: Mapping[str, str]
    processes: int


def measure_chunks(
    arguments: Mapping[str, Any], _inputs: Mapping[str, Path], folder: Path
) -> dict[str, Any]:
    """The function of the job: the chunks' rows, as files in its folder.

    Returns:
        ``dropped``: candidates that crashed, and how.

    Raises:
        DataError: a file is another one here, or the data are.
        EdgekitError: the data, the metric or the reference failed.
    """
    share = from_plain(ChunkShare, arguments)
    for key in set(_runs) - {share.run.key}:
        _runs.pop(key).close()
    if share.run.key not in _runs:
        _runs[share.run.key] = OpenRun(share.run)
    try:
        dropped = _runs[share.run.key].measure(share, folder)
    except BaseException:
        _runs.pop(share.run.key).close()
        raise
    return {"dropped": {str(one): why for one, why in dropped.items()}}


class OpenRun:
    """A run's reference and measuring processes on this machine, between jobs.

    Args:
        run: what to open.

    Raises:
        EdgekitError: it cannot be opened here.
    """

    def __init__(self, run: SharedRun) -> None:
        self._stack = ExitStack()
        try:
            self._stream = self._open(run)
        except BaseException:
            self._stack.close()
            raise

    def measure(self, share: ChunkShare, folder: Path) -> dict[int, str]:
        """Measure chunks and put their rows into the folder; the candidates that crashed, ever."""
        stream = self._stream
        before = {int(one): why for one, why in share.dropped.items()}
        stream.chunks = {int(number): places for number, places in share.chunks.items()}
        stream.jobs = share.processes
        stream.dropped |= before
        stream.run()
        for path in stream.store.folder.glob("chunk-*.rows"):
            shutil.move(path, folder / path.name)
        if stream.dropped.keys() - before.keys():
            stream.close()  # what a thread has started again ended with it
        return dict(stream.dropped)

    def close(self) -> None:
        """End all processes."""
        self._stack.close()

    def _open(self, run: SharedRun) -> Stream:
        import numpy as np

        scratch = Path(self._stack.enter_context(temporary_folder("validate")))
        job = MeasuringJob.from_json(run.job)
        files = [Path(one.path) for one in job.candidates]
        for path, known in zip(files, run.digests, strict=True):
            _require_same(path, known)
        workshop = self._stack.enter_context(
            Workshop(
                name="validate",
                progress=SilentProgress(),
                limits=run.limits,
                work=scratch,
                read=tuple(files),
            )
        )
        reference = prepare.open_the_reference(
            _request(run, job),
            Contract.from_json(run.embedded) if run.embedded else None,
            workshop,
            scratch,
        )
        self._stack.enter_context(reference.runner)
        if reference.digest != run.reference_digest:
            raise _other(run.reference)
        samples = open_job_samples(job)
        if digest_of_names(samples.ids) != run.ids:
            raise _other(job.data)
        store = RunStore(scratch / "rows")
        store.folder.mkdir()
        key = run.outputs_key
        if key and cpu_name() != run.processor:  # its outputs are this processor's
            key = hashlib.sha256(f"{key} {cpu_name()}".encode()).hexdigest()
        cache = ReferenceCache.open(key, store)
        path = scratch / "job.json"
        replace(job, references=str(cache.folder), scratch=str(scratch)).write(path)

        def ask(inputs: Sequence[Path], digests: Sequence[str], ids: Sequence[str]) -> list[Array]:
            stacks = [np.load(one, mmap_mode="r", allow_pickle=False) for one in inputs]
            return reference.ask(stacks, digests, ids)

        stream = Stream(
            job=path,
            chunks={},
            store=store,
            cache=cache,
            ask=ask,
            names=run.names,
            ids=samples.ids,
            jobs=1,
            scratch=scratch,
            logs=workshop.log_folder,
            limits=run.limits,
            progress=SilentProgress(),
            most_bytes=run.cache_gb * 1e9,
            own_code=job.metric is not None,
        )
        self._stack.callback(stream.close)
        return stream


_runs: dict[str, OpenRun] = {}
"""The one that this process is at; to open it takes longer than to measure a chunk."""


def digest_of_names(ids: Sequence[str]) -> str:
    """What data are known by that lie on several machines."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def _request(run: SharedRun, job: MeasuringJob) -> ValidationRequest:
    return ValidationRequest(
        candidates=(),
        reference=run.reference,
        data=Path(job.data),
        device=run.device,
        weights=run.weights,
        trust_pickle=run.trust_pickle,
        inputs=run.inputs,
        timeout=run.timeout,
    )


def _require_same(path: Path, known: str) -> None:
    if not path.is_file() or digest(path) != known:
        raise _other(path)


def _other(what: Path | str) -> EdgekitError:
    return DataError(
        f"{what} is not the same on a node of the cluster as where the run was started.",
        cure="Have models and data at the same paths on all machines: a shared folder, or copies.",
    )
