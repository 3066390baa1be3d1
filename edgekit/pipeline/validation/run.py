"""A validation from beginning to end."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.arguments import check_arguments
from edgekit.config import Config, load_config
from edgekit.contract import Contract
from edgekit.errors import UsageError
from edgekit.files import temporary_folder
from edgekit.measure.job import MeasuringJob
from edgekit.measure.tasks import picture_range, require_meaning
from edgekit.pipeline.probe import check_graph, refuse_contradictions
from edgekit.pipeline.target import Target, open_target
from edgekit.pipeline.validation import contracts, prepare, timing
from edgekit.pipeline.validation.chunk_job import NodeSetup, SharedRun, digest_of_names
from edgekit.pipeline.validation.data import Samples, identity, order
from edgekit.pipeline.validation.inside import look_inside
from edgekit.pipeline.validation.on_cluster import ChunkJobs, Cluster, joining, unlike_here
from edgekit.pipeline.validation.on_device import Chunks
from edgekit.pipeline.validation.prepare import Candidate, First
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.pipeline.validation.result import Findings, environment, make_result
from edgekit.pipeline.validation.store import ReferenceCache, RunStore, references, trim
from edgekit.pipeline.validation.stream import MeasuringProcesses, Stream
from edgekit.runners.litert_runner import LitertRunner
from edgekit.runners.protocol import Runner
from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Gate, Progress, Scheme, SilentProgress
from edgekit.validation.probe import Probe
from edgekit.validation_result import ValidationResult
from edgekit.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_CHUNK = 32
_CHUNK_BYTES = 64_000_000
"""A chunk's tensors take at most about so much in each process."""


def validate(request: ValidationRequest, progress: Progress | None = None) -> ValidationResult:
    """Compare candidates with a reference on the user's data, and judge them.

    Ctrl-C is no error where samples were measured: the result is about these, and not complete.

    Raises:
        EdgekitError: the reference, the data or the request cannot be used. What only concerns one
            candidate is in its `CandidateResult.error`.
        KeyboardInterrupt: before any sample was measured.
    """
    started = time.monotonic()
    check_arguments(request)
    told = progress or SilentProgress()
    if request.cluster and request.elsewhere:
        raise UsageError(
            "A cluster measures in the runtime of its nodes, not on a device or in another one.",
            cure="Leave out --cluster, or --device and --runtime.",
        )
    config = load_config(request.config) if request.config else Config()
    files = prepare.open_candidates(request)
    stated = prepare.read_gates(request, config)
    embedded = contracts.agreed(
        {one.name: one.summary.contract for one in files}, tuple(request.preprocess)
    )
    with (
        temporary_folder("validate") as scratch,
        Workshop(
            name="validate",
            progress=told,
            limits=request.limits,
            work=Path(scratch),
            read=tuple(one.path for one in files),
        ) as workshop,
        _target(request, told) or nullcontext() as target,
        joining(
            request, NodeSetup.of(request, {one.path: one.sha256 for one in files}, embedded)
        ) as cluster,
    ):
        work = Path(scratch)
        reference = prepare.open_the_reference(request, embedded, workshop, work)
        with reference.runner:
            contract = prepare.make_contract(request, config, reference, embedded)
            refuse_contradictions(contract, accepted=request.accept_contract)
            if request.metric is None:
                require_meaning(contract)
            run = _Run(
                request=request,
                reference=reference,
                contract=contract,
                samples=prepare.open_data(request, contract),
                workshop=workshop,
                work=work,
                target=target,
                cluster=cluster(),
            )
            result = run.carry_out(files, stated)
    if result.complete:
        chosen = order(run.samples, limit=request.limit, seed=request.seed)
        result = look_inside(request, result, run.samples, chosen, told)
    return replace(result, seconds=round(time.monotonic() - started, 2))


def _target(request: ValidationRequest, progress: Progress) -> Target | None:
    return open_target(
        request.address,
        request.runtime,
        threads=request.threads,
        limits=request.limits,
        progress=progress,
    )


def cores() -> int:
    """How many processes can run at the same time here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(kw_only=True)
class _Run:
    """What is the same throughout one run."""

    request: ValidationRequest
    reference: prepare.OpenReference
    contract: Contract
    samples: Samples
    workshop: Workshop
    work: Path
    target: Target | None
    cluster: Cluster | None = None

    def carry_out(
        self, files: Sequence[Candidate], stated: Sequence[tuple[Scheme | None, Gate]]
    ) -> ValidationResult:
        """Bind, time, measure, judge."""
        request, progress = self.request, self.workshop.progress
        chosen = order(self.samples, limit=request.limit, seed=request.seed)
        first = prepare.first_sample(self.samples, chosen, self.contract, self.reference)
        found: tuple[str, ...] = ()
        if request.metric is None:
            self.contract, found = prepare.settle(
                self.samples, chosen, self.contract, self.reference, first
            )
        notes = [*self.samples.notes, *found, *self._assumed(first), *self._of_the_object(chosen)]
        for note in notes:
            progress.note(note)
        probe = self._probe(files, chosen, first)
        for slip in probe.slips if probe.accepted else ():
            notes.append(f"Accepted: {slip}")
            progress.note(notes[-1])
        candidates = prepare.bind_all(files, self.contract, first, self._runner)
        candidates = prepare.run_in_a_row(
            candidates, self.samples, chosen, self.contract, self.reference, self._here
        )
        timings = self._time(candidates, first)
        if self.cluster is not None:
            self.cluster.get_ready()
        ran_on = self.target.environment() if self.target else environment()
        job = self._job(candidates, first)
        chunks = self._chunks(chosen, first, len(candidates))
        key = self._key(candidates, job, chunks, ran_on if self.target else None)
        with RunStore.open(key, resume=request.resume) as store:
            stream = self._stream(job, chunks, store, first, candidates)
            try:
                elsewhere = self._chunk_jobs(job, candidates, first, stream)
                complete = self._measure(stream, elsewhere) if job.candidates else True
                notes += unlike_here(elsewhere.machines) if elsewhere else []
                finished = sorted(one for one in store.finished() if one < len(chunks))
                if not complete and not finished:
                    raise KeyboardInterrupt
                progress.step("Judging")
                findings = Findings(
                    request=request,
                    reference=self.reference,
                    contract=self.contract,
                    samples=self.samples,
                    candidates=candidates,
                    job=job,
                    timings=timings,
                    stated=stated,
                    notes=notes,
                    complete=complete,
                    environment=ran_on,
                    probe=probe,
                )
                result = make_result(findings, store, finished, stream)
            finally:
                stream.close()
            trim(references(), request.cache_gb * 1e9)
            if complete:
                store.remove()
        return result

    def _probe(self, files: Sequence[Candidate], chosen: Sequence[int], first: First) -> Probe:
        """Whether the reference and the files are fed as the model was trained."""
        found = prepare.probe_contract(self.samples, chosen, self.contract, self.reference, first)
        slips = (check_graph(one.path, one.summary.contract or self.contract) for one in files)
        return replace(
            found,
            graph=next((slip for slip in slips if slip is not None), None),
            accepted=self.request.accept_contract,
        )

    def _assumed(self, first: First) -> list[str]:
        return [
            f"Input {entry.tensor.name}: {text}."
            for entry in self.contract.inputs
            for text in entry.assumed
            if entry.tensor.name in first.pictures
        ]

    def _of_the_object(self, chosen: Sequence[int]) -> list[str]:
        """What was told of the objects that reference and data were written from."""
        origin = self.request.origin
        if origin is None or origin.ask is None:
            return list(origin.notes) if origin else []
        found = prepare.ask_the_object(origin, self.samples, chosen, self.contract, self.reference)
        return [*origin.notes, found]

    def _chunk_jobs(
        self,
        job: MeasuringJob,
        candidates: Sequence[Candidate],
        first: First,
        stream: Stream,
    ) -> ChunkJobs | None:
        """The chunks as jobs, where a cluster measures."""
        if self.cluster is None:
            return None
        setup = self.cluster.setup
        here = [replace(one, path=str(Path(one.path).resolve())) for one in job.candidates]
        job = replace(job, data=setup.data, candidates=here)
        run = SharedRun(
            setup=setup,
            job=job.to_json(),
            names=tuple(one.name for one in candidates if one.bound is not None),
            ids=digest_of_names(self.samples.ids),
            reference_digest=self.reference.digest,
            outputs_key=self.reference.key(self.contract, first.outputs),
            processor=cpu_name(),
            cache_gb=self.request.cache_gb,
        )
        self.cluster.executor.within(stream.store.folder)
        return ChunkJobs(
            cluster=self.cluster,
            run=run,
            chunks=stream.chunks,
            store=stream.store,
            drops=stream,
            progress=self.workshop.progress,
        )

    def _measure(self, stream: Stream, elsewhere: ChunkJobs | None) -> bool:
        """Whether all was measured; steps of the reference are not told meanwhile."""
        told = self.workshop.progress
        told.step("Measuring")
        if elsewhere is not None:
            stream.processes.start(0)  # loads meanwhile: it says what the worst samples are
        self.workshop.progress = SilentProgress()
        try:
            complete = (elsewhere is None or elsewhere.measure()) and stream.run()
        finally:
            self.workshop.progress = told
        if not complete:
            told.note("Interrupted: what follows is about the samples measured so far.")
        return complete

    def _runner(self, path: Path) -> Runner:
        if self.target is not None:
            return self.target.runner(path)
        return self._here(path)

    def _here(self, path: Path) -> LitertRunner:
        return LitertRunner(path, workshop=self.workshop, work=self.work)

    def _time(self, candidates: Sequence[Candidate], first: First) -> timing.Timings:
        files = {one.name: one.path for one in candidates if not one.error}
        if not self.request.latency or not files:
            return timing.Timings(candidates={}, reference=None, failures={})
        here = self._time_here({} if self.target else files, first)
        if self.target is None:
            return here
        there = self.target.time(files, self.workshop.progress)
        return replace(here, candidates=there.timings, failures=here.failures | there.failures)

    def _time_here(self, files: Mapping[str, Path], first: First) -> timing.Timings:
        return timing.measure(
            files,
            self.workshop,
            threads=self.request.threads,
            reference=self.reference.runner,
            inputs=first.inputs,
        )

    def _job(self, candidates: Sequence[Candidate], first: First) -> MeasuringJob:
        """What measuring processes are told, about the candidates that run."""
        bound = [one.bound for one in candidates if one.bound is not None]
        parts: dict[str, list[list[int]]] = {}
        for one in bound:
            parts |= {str(place): spans for place, spans in one.parts.items()}
        span = max(map(picture_range, first.outputs), default=1.0)
        return MeasuringJob(
            data=str(self.request.data),
            layout=self.samples.layout,
            labelled=self.samples.labelled,
            contract=self.contract.to_json(),
            candidates=[one.job for one in bound],
            parts=parts,
            metric=self.request.metric,
            span=span,
            recorded=self.reference.recorded,
            references="",
            scratch=str(self.work),
        )

    def _chunks(self, chosen: Sequence[int], first: First, candidates: int) -> list[list[int]]:
        size = int(_CHUNK_BYTES // max(1, first.bytes * (1 + candidates)))
        size = max(1, min(_CHUNK, size))
        return [list(chosen[start : start + size]) for start in range(0, len(chosen), size)]

    def _key(
        self,
        candidates: Sequence[Candidate],
        job: MeasuringJob,
        chunks: Sequence[Sequence[int]],
        ran_on: Mapping[str, str] | None,
    ) -> str:
        """What a run that was killed is found by: the same files, data, contract and choice.

        And the same device with the same runtime, where there is one.
        """
        chosen = [place for chunk in chunks for place in chunk]
        parts = [
            __version__,
            [(one.name, one.sha256, one.error) for one in candidates],
            [self.reference.kind, self.request.reference, self.reference.digest],
            identity(self.request.data, self.samples, chosen),
            [list(chunk) for chunk in chunks],
            [job.contract, job.metric, job.labelled],
            ran_on,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _stream(
        self,
        job: MeasuringJob,
        chunks: Sequence[Sequence[int]],
        store: RunStore,
        first: First,
        candidates: Sequence[Candidate],
    ) -> Stream:
        import numpy as np

        cache = ReferenceCache.open(self.reference.key(self.contract, first.outputs), store)
        path = self.work / "job.json"
        device = None
        if self.target is not None:
            device = Chunks(self.target, job.candidates, store.folder / "device")
        answers = str(device.folder) if device else ""
        replace(job, references=str(cache.folder), device_answers=answers).write(path)

        def ask(inputs: Sequence[Path], digests: Sequence[str], ids: Sequence[str]) -> list[Array]:
            stacks = [np.load(one, mmap_mode="r", allow_pickle=False) for one in inputs]
            return self.reference.ask(stacks, digests, ids)

        return Stream(
            job=path,
            chunks=dict(enumerate(chunks)),
            store=store,
            cache=cache,
            ask=ask,
            names=[one.name for one in candidates if one.bound is not None],
            ids=self.samples.ids,
            # While a device works on a chunk, the next one is decoded.
            jobs=self.request.jobs or max(cores(), 2 if device else 1),
            processes=MeasuringProcesses(
                scratch=self.work,
                rows=store.folder,
                logs=self.workshop.log_folder,
                limits=self.request.limits,
                own_code=job.metric is not None,
            ),
            progress=self.workshop.progress,
            most_bytes=self.request.cache_gb * 1e9,
            device=device,
        )
