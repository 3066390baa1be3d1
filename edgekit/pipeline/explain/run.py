"""``edgekit explain``: from a candidate, a reference and data to the first bad operator."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

from edgekit.errors import EdgekitError
from edgekit.files import kind_of, temporary_folder
from edgekit.pipeline.explain.candidate import CandidateTask
from edgekit.pipeline.explain.given import ExplainInputs, given_to
from edgekit.pipeline.explain.on_device import explain_on_device
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.stages import framework_chain, tflite_chain
from edgekit.pipeline.explain.traces import affordable, graph_name
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.target import open_target
from edgekit.provenance.lock import LOCK_NAME
from edgekit.provenance.text import read_lock
from edgekit.sources import recognise
from edgekit.tflite.layer_names import layer_names
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Effort, Progress
from edgekit.validation.explain.causes import advice
from edgekit.validation.explain.points import EXACT_DB, Explanation, OpFinding, StageFinding


def explain(request: ExplainRequest, progress: Progress) -> Explanation:
    """Find where a candidate departs from its reference, and why.

    Where a device is named, it is compared with this computer first, on the same file. Only a
    device that computes what this computer does leaves anything to explain by the file itself.

    Raises:
        UsageError, ModelError, DataError, SetupError: see the classes.
        StepError: a file crashes the runtime, or a model cannot be run.
        DeviceError: the device does not do its part.
    """
    target = open_target(
        request.address, request.runtime, threads=1, limits=request.limits, progress=progress
    )
    if target is None:
        return _explain(request, progress)
    with target:
        found = explain_on_device(request, target, progress)
    if found.first is not None or not request.reference:
        return found
    explained = _explain(request, progress)
    return replace(explained, notes=(found.verdict, *explained.notes))


def _explain(request: ExplainRequest, progress: Progress) -> Explanation:
    """By the file itself, here."""
    started = time.monotonic()
    source = recognise(
        request.reference, weights=request.weights, trust_pickle=request.trust_pickle
    )
    samples = affordable(request.candidate, request.samples)
    with (
        temporary_folder("explain") as folder,
        Workshop(
            name=source.name,
            progress=progress,
            limits=request.limits,
            work=Path(folder),
            source=source,
            read=tuple(filter(None, (request.candidate, request.floating))),
        ) as workshop,
    ):
        work = Path(folder)
        given = given_to(request.candidate, request, samples, workshop, work / "candidate-data")
        if source.kind == "tflite":
            chain = tflite_chain(Path(source.location), given, request, samples, workshop, work)
        else:
            chain = framework_chain(_conversion(request, given, samples), request, workshop, work)
        notes = list(chain.notes)
        if samples < request.samples:
            notes.append(f"{samples} samples: more of its tensors would fill the disk.")
        task = CandidateTask(request, chain, given, workshop, work, notes)
        ops, last, outputs = task.compare()
        used = _used(request.candidate)
        known = layer_names(task.candidate.main.operators)
        ops = tuple(
            replace(op, advice=advice(op.cause, used), layer=known.get(op.name, "")) for op in ops
        )
        last = replace(last, departs=known.get(last.departs or "", last.departs))
        stages = (*chain.stages, last)
        return Explanation(
            candidate=request.candidate.name,
            reference=source.name if source.kind != "tflite" else Path(source.location).name,
            graph=graph_name(task.candidate),
            samples=given.ids,
            stages=stages,
            ops=ops,
            outputs_db=outputs,
            verdict=verdict(ops, stages, outputs),
            notes=tuple(notes),
            seconds=round(time.monotonic() - started, 1),
        )


_NO_MATTER_HOW_FAR = ("fp32:centred_sqnr_db >= -1000", "fp32:nonfinite <= 1e18")
_EFFORTS: tuple[Effort, ...] = get_args(Effort)


def _used(candidate: Path) -> tuple[str, ...]:
    """The options that a file was quantized with, as the lock beside it says; () without one."""
    path = candidate.with_name(LOCK_NAME)
    if kind_of(path) != "file":
        return ()
    try:
        lock = read_lock(path)
    except EdgekitError:
        return ()
    if candidate.name not in {file.name for file in lock.files}:
        return ()
    made = {**lock.request, **lock.settled.get("rung", {})}
    effort = made.get("effort")
    efforts = _EFFORTS[: _EFFORTS.index(effort) + 1] if effort in _EFFORTS else ()
    return *(f"--effort {one}" for one in efforts), f"--ranges {made.get('ranges')}"


def verdict(
    ops: tuple[OpFinding, ...], stages: tuple[StageFinding, ...], outputs: Mapping[str, float]
) -> str:
    """The answer in a sentence."""
    early = next((stage for stage in stages[:-1] if stage.departs), None)
    if early is not None:
        return (
            f"{early.candidate} departs from {early.reference} at {early.departs} "
            f"({early.operator}), {early.departs_db:.1f} dB. {early.remark}".strip()
        )
    first = next((op for op in ops if op.bad), None)
    level = min(outputs.values(), default=0.0)
    if first is not None:
        return f"The first bad operator is {first.called} ({first.operator}): {first.cause}."
    real = [op for op in ops if op.place >= 0]
    if not real:
        return "Nothing could be compared."
    if not outputs:
        return "No output corresponds to one of the reference's: is it the same model?"
    worst = min(real, key=lambda op: op.added_db)
    if worst.added_db >= EXACT_DB:
        return "Nothing departs: every operator computes what the reference does."
    return (
        f"Nothing is wrong with a single operator: the outputs have {level:.1f} dB, and none adds "
        f"more error than {worst.called} ({worst.operator}), {worst.added_db:.1f} dB."
    )


def _conversion(request: ExplainRequest, given: ExplainInputs, samples: int) -> ConversionRequest:
    """The conversion whose stages are looked at; any parity is good enough to look."""
    pictures = [e for e in given.contract.inputs if e.preprocess is not None]
    wanted = pictures[0].folded or pictures[0].preprocess if pictures else None
    own = {} if request.config or wanted is None else asdict(wanted)
    folded = next((e.preprocess for e in pictures if e.folded), None)
    return ConversionRequest(
        model=request.reference,
        weights=request.weights,
        trust_pickle=request.trust_pickle,
        inputs=request.inputs,
        preprocess={**own, **request.preprocess},
        fold_preprocess=folded is not None,
        feed_color="BGR" if folded is not None and folded.color == "BGR" else "RGB",
        calibration=request.data,
        samples=samples,
        parity_samples=samples,
        seed=request.seed,
        schemes=("fp32",),
        config=request.config,
        gates=_NO_MATTER_HOW_FAR,
        limits=request.limits,
    )
