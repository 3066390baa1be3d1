"""Chunks of a validation as a job, on whichever machine: the same stream over fewer chunks."""

from __future__ import annotations

import hashlib
import secrets
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
from edgekit.pipeline.validation.stream import MeasuringProcesses, Stream
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
class NodeSetup:
    """What a machine opens before there is a sample; paths lead to the same on every machine.

    Attributes:
        key: of this run of edgekit.
        candidates: their files, by path, with their digests.
        reference: as in `ValidationRequest`, like ``data``, ``weights``, ``trust_pickle``,
            ``device``, ``timeout``, ``inputs`` and ``limits``.
        embedded: the files' contract, as JSON.
        own_code: a metric of the user's own measures.
    """

    key: str
    candidates: Mapping[str, str]
    reference: str
    data: str
    weights: Path | None
    trust_pickle: bool
    device: Device
    timeout: float
    inputs: tuple[TensorSpec, ...]
    limits: Limits
    embedded: str | None
    own_code: bool

    @classmethod
    def of(
        cls, request: ValidationRequest, digests: Mapping[Path, str], embedded: Contract | None
    ) -> NodeSetup:
        """What a request asks for; its paths become absolute."""
        location = Path(request.reference)
        return cls(
            key=secrets.token_hex(16),
            candidates={str(path.resolve()): known for path, known in digests.items()},
            reference=str(location.resolve()) if location.exists() else request.reference,
            data=str(request.data.resolve()),
            weights=request.weights.resolve() if request.weights else None,
            trust_pickle=request.trust_pickle,
            device=request.device,
            timeout=request.timeout,
            inputs=request.inputs,
            limits=request.limits,
            embedded=embedded.to_json() if embedded else None,
            own_code=request.metric is not None,
        )


@dataclass(frozen=True, kw_only=True)
class SharedRun:
    """What all jobs of a validation have in common.

    Attributes:
        setup: what was opened.
        job: what measuring processes are told, as JSON.
        names: of the candidates that are measured.
        ids: a digest of the samples' names.
        reference_digest: of its files.
        outputs_key: what kept outputs of the reference are found by.
        processor: of the machine that asks.
        cache_gb: how much the reference's outputs may take on the disk.
    """

    setup: NodeSetup
    job: str
    names: tuple[str, ...]
    ids: str
    reference_digest: str | None
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


def get_ready(arguments: Mapping[str, Any], _inputs: Mapping[str, Path], _folder: Path) -> None:
    """The function of a job that opens what it can while the run itself is still being prepared.

    Raises:
        EdgekitError: as `OpenNode`.
    """
    _open(from_plain(NodeSetup, arguments["setup"]), arguments["processes"])


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
    node = _open(share.run.setup, share.processes)
    try:
        dropped = node.measure(share, folder)
    except BaseException:
        _nodes.pop(share.run.setup.key).close()
        raise
    return {"dropped": {str(one): why for one, why in dropped.items()}}


def _open(setup: NodeSetup, processes: int) -> OpenNode:
    """The one of this run; that of another one ends."""
    for key in set(_nodes) - {setup.key}:
        _nodes.pop(key).close()
    if setup.key not in _nodes:
        _nodes[setup.key] = OpenNode(setup, processes)
    return _nodes[setup.key]


class OpenNode:
    """A run's reference and measuring processes on this machine, between jobs.

    Args:
        setup: what to open.
        processes: how many will measure; they load beside the reference.

    Raises:
        DataError: a candidate is another file here.
        EdgekitError: the reference cannot be opened here.
    """

    def __init__(self, setup: NodeSetup, processes: int) -> None:
        self._stack = ExitStack()
        self._stream: Stream | None = None
        try:
            self._reference = self._open(setup, processes)
        except BaseException:
            self._stack.close()
            raise

    def measure(self, share: ChunkShare, folder: Path) -> dict[int, str]:
        """Measure chunks and put their rows into the folder; the candidates that crashed, ever."""
        stream = self._stream = self._stream or self._begin(share.run)
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

    def _open(self, setup: NodeSetup, processes: int) -> prepare.OpenReference:
        scratch = self._scratch = self._stack.enter_context(temporary_folder("validate"))
        files = [Path(path) for path in setup.candidates]
        for path, known in zip(files, setup.candidates.values(), strict=True):
            _require_same(path, known)
        workshop = self._stack.enter_context(
            Workshop(
                name="validate",
                progress=SilentProgress(),
                limits=setup.limits,
                work=scratch,
                read=tuple(files),
            )
        )
        self._processes = MeasuringProcesses(
            scratch=scratch,
            rows=scratch / "rows",
            logs=workshop.log_folder,
            limits=setup.limits,
            own_code=setup.own_code,
        )
        self._stack.callback(self._processes.close)
        self._processes.rows.mkdir()
        for number in range(processes):
            self._processes.start(number)
        reference = prepare.open_the_reference(
            _request(setup),
            Contract.from_json(setup.embedded) if setup.embedded else None,
            workshop,
            scratch,
        )
        self._stack.enter_context(reference.runner)
        return reference

    def _begin(self, run: SharedRun) -> Stream:
        """The stream, once it is known what is measured."""
        import numpy as np

        reference, scratch = self._reference, self._scratch
        if reference.digest != run.reference_digest:
            raise _other(run.setup.reference)
        job = MeasuringJob.from_json(run.job)
        samples = open_job_samples(job)
        if digest_of_names(samples.ids) != run.ids:
            raise _other(job.data)
        store = RunStore(self._processes.rows)
        key = run.outputs_key
        if key and cpu_name() != run.processor:  # its outputs are this processor's
            key = hashlib.sha256(f"{key} {cpu_name()}".encode()).hexdigest()
        cache = ReferenceCache.open(key, store)
        path = scratch / "job.json"
        replace(job, references=str(cache.folder), scratch=str(scratch)).write(path)

        def ask(inputs: Sequence[Path], digests: Sequence[str], ids: Sequence[str]) -> list[Array]:
            stacks = [np.load(one, mmap_mode="r", allow_pickle=False) for one in inputs]
            return reference.ask(stacks, digests, ids)

        return Stream(
            job=path,
            chunks={},
            store=store,
            cache=cache,
            ask=ask,
            names=run.names,
            ids=samples.ids,
            jobs=1,
            processes=self._processes,
            progress=SilentProgress(),
            most_bytes=run.cache_gb * 1e9,
        )


_nodes: dict[str, OpenNode] = {}
"""The one that this process is at; to open it takes longer than to measure a chunk."""


def digest_of_names(ids: Sequence[str]) -> str:
    """What data are known by that lie on several machines."""
    return hashlib.sha256("\0".join(ids).encode()).hexdigest()


def _request(setup: NodeSetup) -> ValidationRequest:
    return ValidationRequest(
        candidates=(),
        reference=setup.reference,
        data=Path(setup.data),
        device=setup.device,
        weights=setup.weights,
        trust_pickle=setup.trust_pickle,
        inputs=setup.inputs,
        timeout=setup.timeout,
    )


def _require_same(path: Path, known: str) -> None:
    if not path.is_file() or digest(path) != known:
        raise _other(path)


def _other(what: Path | str) -> EdgekitError:
    return DataError(
        f"{what} is not the same on a node of the cluster as where the run was started.",
        cure="Have models and data at the same paths on all machines: a shared folder, or copies.",
    )
