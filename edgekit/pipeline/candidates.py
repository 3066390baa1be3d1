"""What a conversion makes, against the reference: as `edgekit validate`, on its own samples.

Binding, rows, figures and verdict are those of `edgekit.pipeline.validation`; here is only where
the samples and the reference's outputs come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError, DataError, UsageError
from edgekit.measure.binding import Bound, bind
from edgekit.measure.job import CandidateJob, Taken, turn_back
from edgekit.measure.judge import Compared, Judged, judge_rows
from edgekit.measure.parts import joined
from edgekit.measure.rows import (
    Cuts,
    Joining,
    candidate_rows,
    reference_rows,
    sample_rows,
)
from edgekit.measure.tasks import answer, say, say_label
from edgekit.pipeline.labels import SampleLabel
from edgekit.pipeline.reference import Reference
from edgekit.runners.litert import LITERT
from edgekit.runners.litert_runner import IN_A_ROW, LitertRunner
from edgekit.tflite.metadata import read_contract
from edgekit.tflite.summary import summarize
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Binding, LatencyReport, ParityReport, Scheme, TensorSpec
from edgekit.validation import align
from edgekit.validation.metrics import Batch, Metric
from edgekit.validation_result import WorstSample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_BLOCK = 64
_BLOCK_BYTES = 64_000_000
"""So many samples are compared at once, as far as their tensors take no more than this."""

Parts = Mapping[str, Sequence[tuple[int, int, int]]]
"""By the reference's output: the (axis, start, size) of the parts that mix ranges."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A file with what its outputs say, and how its tensors were bound (in the file's order).

    ``worst`` are the samples on which it is farthest from the reference, as far as asked for.
    """

    judged: Judged
    bindings: tuple[Binding, ...]
    job: CandidateJob
    worst: tuple[WorstSample, ...] = ()

    @property
    def parity(self) -> ParityReport:
        """How close the outputs are."""
        return self.judged.parity


def measure(
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    *,
    name: str,
    work: Path,
    scheme: Scheme | None = "fp32",
    told: Sequence[dict[str, Any]] = (),
    parts: Parts | None = None,
    metric: Metric | None = None,
    worst: int = 0,
    shapes: Sequence[Sequence[int]] | None = None,
) -> Measured:
    """Run a file on the parity samples and compare it with the reference.

    Args:
        artifact: the file.
        reference: what to compare with.
        workshop: has the runner.
        name: what the candidate is called in the report.
        work: a folder for the outputs.
        scheme: of the file.
        told: what the converter says about the inputs' axes.
        parts: of the reference's outputs that mix ranges, see `edgekit.measure.parts`.
        metric: the task's.
        worst: so many of the worst samples are told with both answers.
        shapes: of the file's inputs, where they are to be resized.

    Raises:
        ConversionError: the file does not load or run, or its tensors fit no way.
    """
    runner, bound = _opened(
        artifact, reference, workshop, name=name, work=work, told=told, shapes=shapes
    )
    few = slice(0, IN_A_ROW)

    def run(_some: slice, inputs: Sequence[Array]) -> list[Array]:
        return runner.run(bound.job.fed(inputs))

    judged = _judge(
        reference,
        bound.job,
        bound.bindings,
        run,
        name=name,
        scheme=scheme,
        parts=parts or {},
        metric=metric,
    )
    remembers = (
        summarize(artifact).stateful
        and not reference.stateful
        and runner.remembers(bound.job.fed(reference.inputs_of(few)))
    )
    return Measured(
        judged=replace(judged, remembers=remembers),
        bindings=bound.inputs,
        job=bound.job,
        worst=_worst(reference, bound.job, runner, judged.parity, worst),
    )


def _worst(
    reference: Reference,
    candidate: CandidateJob,
    runner: LitertRunner,
    parity: ParityReport,
    most: int,
) -> tuple[WorstSample, ...]:
    """The samples with the lowest SQNR of any output, with what both models say of them."""
    import numpy as np

    count = reference.data.parity.count
    levels = [one.per_sample_sqnr_db for one in parity.outputs if one.index_agreement is None]
    known = [np.asarray(one) for one in levels if len(one) == count]
    if not most or not known:
        return ()
    lowest = np.min(known, axis=0)
    places = np.argsort(lowest, kind="stable")[:most]
    contract, ids = reference.compared, reference.data.parity.ids
    labels = reference.labels or [None] * count
    wanted = reference.outputs_of(places)
    got = runner.run(candidate.fed(reference.inputs_of(places)))
    both = [_whole(one, got, like) for one, like in zip(candidate.outputs, wanted, strict=True)]
    found = []
    for row, place in enumerate(places.tolist()):
        one = WorstSample(id=ids[place], path=None, sqnr_db=float(lowest[place]))
        theirs, mine = [stack[row] for stack in wanted], [stack[row] for stack in both]
        with suppress(DataError, UsageError):  # nobody can read these outputs: the figures say so
            one = replace(
                one,
                label=say_label(contract, labels[place]),
                reference=say(contract, theirs),
                candidate=say(contract, mine),
                reference_answer=answer(contract, theirs),
                candidate_answer=answer(contract, mine),
            )
        found.append(one)
    return tuple(found)


def answers(
    artifact: Path, reference: Reference, workshop: Workshop, *, work: Path
) -> tuple[list[Array], dict[int, float]]:
    """What a file says on the parity samples, with the reference's axes.

    Returns:
        A stack for each output of the reference, and the steps of those that are stored as 8 bits.
    """
    runner, bound = _opened(artifact, reference, workshop, name=artifact.name, work=work)
    everything = slice(None)
    got = runner.run(bound.job.fed(reference.inputs_of(everything)))
    wanted = reference.outputs_of(everything)
    whole = [_whole(one, got, like) for one, like in zip(bound.job.outputs, wanted, strict=True)]
    steps = {
        span.index: (span.high - span.low) / 255
        for span in bound.job.spans
        if span.role == "output"
    }
    return whole, steps


def _opened(
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    *,
    name: str,
    work: Path,
    told: Sequence[dict[str, Any]] = (),
    shapes: Sequence[Sequence[int]] | None = None,
) -> tuple[LitertRunner, Bound]:
    """A file that runs, with its tensors bound to the reference's."""
    work.mkdir(parents=True, exist_ok=True)
    runner = LitertRunner(artifact, workshop=workshop, work=work, threads=2, shapes=shapes)
    runner.name = name
    first = slice(0, 1)
    bound = bind(
        runner,
        artifact,
        summarize(artifact),
        reference.compared,
        read_contract(artifact),
        reference.inputs_of(first),
        reference.outputs_of(first),
        told=told,
    )
    return runner, bound


def compare_stacks(
    reference: Reference,
    outputs: Sequence[TensorSpec],
    files: Sequence[Path],
    *,
    name: str,
    parts: Parts | None = None,
    metric: Metric | None = None,
) -> Judged:
    """Compare outputs that somebody else computed for the parity samples.

    Args:
        reference: what to compare with.
        outputs: the candidate's, with the shapes of one sample.
        files: its stacked outputs.
        name: of the candidate.
        parts, metric: as for `measure`.

    Raises:
        ConversionError: an output has no counterpart.
    """
    import numpy as np

    bindings = align_files(reference, outputs, files)
    taken = [Taken(places=[one.index], axis=None, permutation=one.permutation) for one in bindings]
    stacks = [np.load(path, mmap_mode="r") for path in files]
    return _judge(
        reference,
        CandidateJob(path="", feeds=(), outputs=taken, indices=_whole_numbers(outputs, bindings)),
        bindings,
        lambda some, _inputs: [np.asarray(stack[some]) for stack in stacks],
        name=name,
        scheme="fp32",
        parts=parts,
        metric=metric,
    )


def _whole_numbers(outputs: Sequence[TensorSpec], bindings: Sequence[Binding]) -> list[bool]:
    """Which outputs are indices, where only their types can tell."""
    return [outputs[one.index].dtype.startswith(("int", "uint", "bool")) for one in bindings]


def _judge(
    reference: Reference,
    candidate: CandidateJob,
    bindings: Sequence[Binding],
    run: Callable[[slice, Sequence[Array]], list[Array]],
    *,
    name: str,
    scheme: Scheme | None,
    parts: Parts | None = None,
    metric: Metric | None = None,
) -> Judged:
    """Rows of all parity samples, some at a time, and what they say."""
    import numpy as np

    contract, parity = reference.compared, reference.data.parity
    cuts: Cuts = {
        str(place): (parts or {})[spec.name]
        for place, spec in enumerate(reference.outputs)
        if spec.name in (parts or {})
    }
    labels: Sequence[SampleLabel] = reference.labels or [None] * parity.count
    joining = Joining(1)
    for some in _blocks(reference):
        inputs, wanted = reference.inputs_of(some), reference.outputs_of(some)
        got = run(some, inputs)
        batch = Batch(
            index=list(range(parity.count))[some],
            reference=wanted,
            candidate=[
                _whole(one, got, like) for one, like in zip(candidate.outputs, wanted, strict=True)
            ],
            labels=labels[some],
            names=parity.ids[some],
        )
        samples = [list(one) for one in zip(*inputs, strict=True)]
        mine = candidate_rows(
            contract,
            cuts,
            batch,
            inputs=samples,
            spans=candidate.spans,
            metric=metric,
            named=candidate.named,
        )
        columns = {"index": np.asarray(batch.index, np.int64)}
        columns |= sample_rows(samples) | reference_rows(contract, cuts, wanted, candidate.named)
        joining.add(columns | {f"0/{key}": column for key, column in mine.items()})
    compared = Compared(
        contract=contract,
        cuts=cuts,
        candidate=candidate,
        bindings=bindings,
        scheme=scheme,
        names=("framework", name),
        metric=metric,
    )
    return judge_rows(
        joining.rows(),
        0,
        compared,
        ids=parity.ids,
        data=parity.digest,
        synthetic=parity.synthetic,
    )


def _whole(taken: Taken, stacks: Sequence[Array], like: Array) -> Array:
    """One of the reference's outputs from the file's, with its axes."""
    whole = joined([stacks[place] for place in taken.places], taken.axis)
    return turn_back(whole, taken.permutation, like)


def _blocks(reference: Reference) -> Iterator[slice]:
    count, first = reference.data.parity.count, slice(0, 1)
    stacks = (*reference.inputs_of(first), *reference.outputs_of(first))
    size = max(1, min(_BLOCK, _BLOCK_BYTES // max(1, sum(stack.nbytes for stack in stacks))))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def feeds(reference: Reference, bindings: Sequence[Binding], role: str) -> list[dict[str, Any]]:
    """What a worker is given for each of the file's inputs: stack, sample shape, permutation."""
    data = reference.data.calibration if role == "calibration" else reference.data.parity
    shapes = {spec.name: spec.shape for spec in reference.inputs}
    return [
        {
            "path": str(data.files[binding.reference]),
            "shape": list(shapes[binding.reference]),
            "permutation": list(binding.permutation),
        }
        for binding in bindings
    ]


def benchmark(
    artifacts: Sequence[Path], workshop: Workshop, *, threads: int, title: str
) -> list[LatencyReport]:
    """Latencies of several files, measured in turn so that machine noise hits all alike."""
    result, _ = workshop.call(
        LITERT,
        "benchmark",
        {
            "artifacts": [str(artifact) for artifact in artifacts],
            "threads": threads,
            "warmup": 3,
            "runs": 30,
            "seconds": 4.0,
        },
        title=title,
    )
    return [
        LatencyReport(
            samples_ms=tuple(entry["samples_ms"]),
            threads=threads,
            load_ms=entry["load_ms"],
            first_ms=entry["first_ms"],
            warmup=3,
        )
        for entry in result["results"]
    ]


def align_files(
    reference: Reference, outputs: Sequence[TensorSpec], files: Sequence[Path]
) -> list[Binding]:
    """Which output of a candidate is which of the reference's, judged by the first sample.

    Args:
        reference: what to compare with.
        outputs: the candidate's, with the shapes of one sample.
        files: its stacked outputs.

    Raises:
        ConversionError: an output has no counterpart.
    """
    import numpy as np

    if len(outputs) < len(reference.outputs):
        raise ConversionError(
            f"The model has {len(reference.outputs)} outputs, the converted file {len(outputs)}."
        )

    def first(path: Path, rank: int) -> Any:
        stack = np.load(path, mmap_mode="r")
        return stack[:1] if stack.ndim == rank else stack[0]

    return align.align_outputs(
        reference.outputs,
        outputs,
        [first(f, len(s.shape)) for f, s in zip(reference.files, reference.outputs, strict=True)],
        [first(f, len(s.shape)) for f, s in zip(files, outputs, strict=True)],
    )
