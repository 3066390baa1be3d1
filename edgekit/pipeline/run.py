"""Doing what a plan says."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from edgekit import sources
from edgekit.errors import ConversionError, ModelError
from edgekit.pipeline.file_notes import notes_on
from edgekit.pipeline.float_stage import FloatStage, load, save
from edgekit.pipeline.floats import make_float
from edgekit.pipeline.kept_scales import keep_scales
from edgekit.pipeline.locking import make_lock
from edgekit.pipeline.origin import SAMPLES, check_origin
from edgekit.pipeline.page import make_page
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.probe import check_graph
from edgekit.pipeline.publish import publish, scratch_folder, work_folder
from edgekit.pipeline.quantized import QUANTIZER, Subject, make_files
from edgekit.pipeline.raw_pixels import fold_for_int8, fold_preprocess
from edgekit.pipeline.reference import Reference, data_report, make_reference, probe_contract
from edgekit.pipeline.sizes import with_sizes
from edgekit.pipeline.steps import CountedProgress, steps_of
from edgekit.provenance.text import to_text
from edgekit.report.json import to_json
from edgekit.results import ConversionResult, FileResult
from edgekit.routes import source_converter
from edgekit.runners.litert import LITERT
from edgekit.tflite.model import read
from edgekit.tflite.normalise import cleaned
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Workshop
from edgekit.types import ModelSource, Progress, Scheme, SilentProgress
from edgekit.validation.probe import Probe


def run(plan: Plan, progress: Progress | None = None) -> ConversionResult:
    """Convert, compare, quantize, judge, and put the files with their report in place.

    A failed gate is no exception: the files are there and the result says ``passed`` is false.

    Raises:
        EdgekitError: any class but `GateFailed`; nothing was written or replaced then.
    """
    started = time.monotonic()
    with work_folder(plan) as work, _workshop(plan, work, progress) as workshop:
        workshop.warm(_needed_first(plan))
        stage = _float_stage(plan, workshop, work)
        return _finish(plan, stage, workshop, work, started)


def convert_to_float(plan: Plan, folder: Path, progress: Progress | None = None) -> None:
    """The first half of `run`, kept in a folder: what serves every scheme of the model.

    Raises:
        EdgekitError: as `run`.
    """
    with scratch_folder(folder) as work, _workshop(plan, work, progress) as workshop:
        workshop.warm(_needed_first(plan)[:-1])
        stage = _float_stage(plan, workshop, work)
        _require_unchanged(plan, stage.source_digest)
        save(stage, folder)


def finish_from(plan: Plan, folder: Path, progress: Progress | None = None) -> ConversionResult:
    """The second half of `run`, from what `convert_to_float` kept: the same files and verdicts.

    Args:
        plan: the same request; only what `convert_to_float` does not look at may differ.
        folder: what `convert_to_float` filled. Nothing in it is changed.
        progress: told of steps, fractions and notes.

    Raises:
        EdgekitError: as `run`.
    """
    started = time.monotonic()
    stage = load(folder)
    with (
        work_folder(plan) as work,
        _workshop(plan, work, progress, read=(folder,)) as workshop,
    ):
        workshop.steps += stage.steps
        workshop.warm([LITERT, QUANTIZER])
        return _finish(plan, stage, workshop, work, started)


def _workshop(
    plan: Plan, work: Path, progress: Progress | None, read: tuple[Path, ...] = ()
) -> Workshop:
    return Workshop(
        name=plan.source.name,
        progress=CountedProgress(progress or SilentProgress(), steps_of(plan)),
        limits=plan.request.limits,
        work=work,
        source=plan.source,
        read=read,
    )


def _float_stage(plan: Plan, workshop: Workshop, work: Path) -> FloatStage:
    """From the model to the float file that equals it, and what is known of both."""
    notes = _notes(workshop)
    before = _source_digest(plan)
    notes.begin("model")
    reference = make_reference(plan, workshop, work)
    _ask_the_object(plan, reference, notes)
    probe = probe_contract(plan, reference, workshop, work)
    notes.begin("convert")
    reference = with_sizes(plan, reference, workshop, work)
    floating, attempts = make_float(plan, reference, workshop, work)
    probe = replace(probe, graph=check_graph(floating.path, reference.contract))
    for slip in probe.slips if probe.accepted else ():
        notes.note(f"Accepted: {slip}")
    kept = keep_scales(plan, floating, reference, workshop, work, QUANTIZER)
    workshop.release(plan.runner)
    if plan.request.fold_preprocess:
        floating, attempts, reference = fold_preprocess(
            plan, floating, attempts, reference, workshop, work
        )
    return FloatStage(
        source_digest=before,
        reference=reference,
        probe=probe,
        floating=floating,
        kept=kept,
        attempts=attempts,
        notes=tuple(notes.kept),
        steps=tuple(workshop.steps),
    )


def _finish(
    plan: Plan, stage: FloatStage, workshop: Workshop, work: Path, started: float
) -> ConversionResult:
    """From the float file to the files of all schemes, judged and in place."""
    notes = _notes(workshop)
    reference, floating, probe = stage.reference, stage.floating, stage.probe
    notes.kept[:] = stage.notes
    plan = _without_the_impossible(plan, floating.path, notes)
    if reference.stateful:
        notes.note(
            "The model keeps state from one call to the next, and so do its files: the app "
            "must reset their variables before each new sequence (compared here with a reset "
            "before each sample)."
        )
    if gone := cleaned(read(floating.path)):
        notes.note(f"The graph was cleaned: {gone}; they turned axes to and fro.")
    for text in notes_on(plan.source.path, floating.path, floating.parity.bindings):
        notes.note(text)
    subject = Subject(floating=floating, reference=reference)
    eight_bit, attempts = subject, stage.attempts
    # A source that is quantized already has scales for the values that it takes.
    if stage.kept is None and (
        raw := fold_for_int8(plan, floating, attempts, reference, workshop, work)
    ):
        attempts, eight_bit = raw[1], Subject(floating=raw[0], reference=raw[2])
    quantized = make_files(plan, subject, eight_bit, workshop, work, stage.kept)
    files = quantized.files
    _require_unchanged(plan, stage.source_digest)
    result = ConversionResult(
        source=_named(plan),
        source_digest=stage.source_digest,
        contract=reference.contract,
        data=data_report(plan, reference.data),
        attempts=attempts,
        files=tuple(_in_place(plan, file, probe) for file in files),
        steps=tuple(workshop.steps),
        notes=tuple(notes.kept),
        advice=quantized.advice,
        ladder=quantized.ladder,
        front=quantized.front,
        probe=probe,
        output=plan.output,
        report=plan.report,
        page=plan.page,
        seconds=round(time.monotonic() - started, 3),
    )
    if all(file.error for file in files):
        raise ConversionError(
            f"No scheme could be written. {files[0].scheme}: {files[0].error}",
            cure="Choose other schemes with --scheme.",
        )
    notes.begin("write")
    notes.step("Writing the files, their report and its page")
    lock = make_lock(plan, reference, result, files, quantized.prepared)
    page = make_page(plan, result, files, reference)
    publish(plan, files, to_json(result), quantized.prepared, lock=to_text(lock), page=page)
    return result


def _require_unchanged(plan: Plan, before: str | None) -> None:
    if _source_digest(plan) != before:
        raise ConversionError(
            f"{plan.source.location} changed while it was converted.",
            cure="Convert again; if it happens again, a converter writes to its input.",
        )


def _notes(workshop: Workshop) -> CountedProgress:
    assert isinstance(workshop.progress, CountedProgress)
    return workshop.progress


def _ask_the_object(plan: Plan, reference: Reference, progress: Progress) -> None:
    """What was exported from an object in Python must answer as that does."""
    origin = plan.request.origin
    if origin is None:
        return
    for note in origin.notes:
        progress.note(note)
    if origin.ask is not None:
        some = slice(0, SAMPLES)
        names = [spec.name for spec in reference.outputs]
        inputs, outputs = reference.inputs_of(some), reference.outputs_of(some)
        progress.step("Asking the object itself")
        progress.note(check_origin(origin, reference.inputs, inputs, outputs, names))


def _named(plan: Plan) -> ModelSource:
    """The source as reports name it: an object's file is gone when they are read."""
    origin = plan.request.origin
    return replace(plan.source, location=origin.what) if origin and origin.what else plan.source


def _without_the_impossible(plan: Plan, floating: Path, progress: Progress) -> Plan:
    """Nobody asked for int8 by name, and loops cannot be made integer: take what comes closest."""
    if plan.request.schemes or "int8" not in plan.schemes or len(read(floating).subgraphs) == 1:
        return plan
    names = {operator.name for operator in read(floating).main.operators}
    why = "has a loop or a branch" if names & {"IF", "WHILE"} else "calls graphs of its own"
    progress.note(f"The graph {why}: dynamic-int8 takes the place of int8.")
    schemes = tuple("dynamic-int8" if s == "int8" else s for s in plan.schemes)
    return replace(plan, schemes=cast("tuple[Scheme, ...]", schemes))


def _needed_first(plan: Plan) -> list[Converter]:
    """Who works in every case, in the order of their turns: the first route's and our own."""
    hops = plan.routes[0].hops if plan.routes else ()
    checking = (
        [source_converter("onnx", plan.converters)]
        if any(h.conversion.target == "onnx" for h in hops)
        else []
    )
    return [plan.runner, *checking, *(hop.converter for hop in hops), LITERT, QUANTIZER]


def _source_digest(plan: Plan) -> str | None:
    path = plan.source.path
    try:
        return sources.digest(path) if path is not None else None
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror or error}.",
            cure="Check its permissions and the disk that it is on.",
        ) from error


def _in_place(plan: Plan, file: FileResult, probe: Probe) -> FileResult:
    """The same result with the file where the user finds it, and what is wrong with the model."""
    final: Path = plan.file(file.scheme)
    return replace(
        file,
        artifact=replace(file.artifact, path=final),
        verdict=replace(file.verdict, wrong=(*file.verdict.wrong, *probe.wrong)),
    )
