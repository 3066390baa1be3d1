"""The stages before a candidate: the framework's model, ONNX and float TFLite, on its samples."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgekit.contract import Contract, image_axes
from edgekit.errors import EdgekitError, EnvironmentNotReady, ModelError, NoRouteError
from edgekit.pipeline import candidates
from edgekit.pipeline.explain.given import ExplainInputs, given_to
from edgekit.pipeline.explain.request import ExplainRequest
from edgekit.pipeline.explain.traces import trace_file, trace_model
from edgekit.pipeline.floats import FloatFile, make_float
from edgekit.pipeline.plan import Plan, plan
from edgekit.pipeline.raw_pixels import (
    Wanted,
    fold_preprocess,
    own_order,
    raw_input,
    takes_raw_pixels,
    write_folded,
)
from edgekit.pipeline.reference import Reference, make_reference, spec_tables
from edgekit.pipeline.request import ConversionRequest
from edgekit.quantize.integer_ops.rewrites import before_passes
from edgekit.raw_pixels.normalization import Normalization
from edgekit.results import Attempt
from edgekit.routes import source_converter
from edgekit.tflite.metadata import embed_contract, read_contract
from edgekit.tflite.model import read
from edgekit.tflite.normalise import normalised
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Workshop
from edgekit.validation.explain import relations
from edgekit.validation.explain.matching import departure, laid, match
from edgekit.validation.explain.points import StageFinding, Trace


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Everything before the candidate.

    Attributes:
        floating: the float `.tflite`.
        trace: its tensors.
        stages: each against the one before it; none where the float file is the reference.
    """

    floating: Path
    trace: Trace
    stages: tuple[StageFinding, ...] = ()
    notes: tuple[str, ...] = ()


def tflite_chain(
    path: Path,
    given: ExplainInputs,
    request: ExplainRequest,
    samples: int,
    workshop: Workshop,
    work: Path,
) -> Chain:
    """A float `.tflite` as the reference.

    Raises:
        ModelError: it computes in integers.
    """
    _require_float(path)
    path = _fed_as(given.contract, path, work)
    mine = given_to(
        path,
        request,
        samples,
        workshop,
        work / "reference-data",
        stated=True,
        otherwise=given.contract,
    )
    floating = _as_quantized(path, request.candidate, work)
    trace = trace_file(
        floating,
        mine.feeds,
        workshop,
        work / "float",
        stage=path.name,
        title="Running the reference",
    )
    notes: tuple[str, ...] = ()
    if _steps(mine.contract) != _steps(given.contract):
        notes = ("The contracts of candidate and reference prepare pictures differently.",)
    return Chain(floating=floating, trace=trace, notes=notes)


def _fed_as(candidate: Contract, reference: Path, work: Path) -> Path:
    """The reference, or a copy of it that takes raw pixels where the candidate does."""
    own = read_contract(reference)
    if own is None or len(own.inputs) != len(candidate.inputs):
        return reference
    wanted: Wanted = {}
    inputs = list(own.inputs)
    for place, (mine, theirs) in enumerate(zip(own.inputs, candidate.inputs, strict=True)):
        axes = image_axes(mine.tensor)
        same = theirs.folded is not None and theirs.folded == mine.preprocess and not mine.folded
        if same and axes and mine.preprocess and theirs.preprocess:
            fed = theirs.preprocess.color
            channels = mine.tensor.shape[axes[2]] or 0
            normalization = Normalization.of(mine.preprocess, channels, fed)
            wanted[mine.tensor.name] = normalization, axes[2]
            inputs[place] = raw_input(mine, fed)
    if not wanted:
        return reference
    copy = work / reference.name
    write_folded(reference, own_order(own), wanted, copy)
    embed_contract(copy, copy, replace(own, inputs=tuple(inputs)))
    return copy


def _as_quantized(floating: Path, candidate: Path, work: Path) -> Path:
    """The float file, or its equal as edgekit quantizes it, whichever the candidate is.

    edgekit's own files come from the latter: axes are not turned to and fro there, and a dense
    layer is one operator, where a converter may write two.
    """
    clean = normalised(floating, work / "normalised.tflite")
    wanted = _kinds(candidate)
    equal = (floating, before_passes(floating, work), clean, before_passes(clean, work))
    return min(equal, key=lambda path: _distance(wanted, _kinds(path)))


def _kinds(path: Path) -> Counter[str]:
    return Counter(operator.name for operator in read(path).main.operators)


def _distance(one: Counter[str], other: Counter[str]) -> int:
    return ((one - other) + (other - one)).total()


def _require_float(path: Path) -> None:
    results = (t for operator in read(path).main.operators for t in operator.outputs)
    if any(tensor.quantization is not None for tensor in results):
        raise ModelError(
            f"{path} is quantized: it cannot tell what is right.",
            cure="Give the float file, or the model itself, as --reference.",
        )


def framework_chain(
    conversion: ConversionRequest, request: ExplainRequest, workshop: Workshop, work: Path
) -> Chain:
    """A framework's model as the reference: its modules, ONNX, and the float `.tflite`."""
    planned = plan(conversion)
    inner = work / "conversion"
    inner.mkdir()
    reference = make_reference(planned, workshop, inner)
    notes: list[str] = []
    traces: list[tuple[Trace, dict[str, list[str]]]] = []
    fed = {
        "inputs": {name: str(path) for name, path in reference.data.parity.files.items()},
        "specs": spec_tables(reference.inputs),
    }
    told: Mapping[str, Sequence[str]] = {}
    if planned.source.kind != "onnx":
        traces += _look(planned.runner, fed, workshop, work / "framework", notes)
    onnx: Path | None = Path(planned.source.location) if planned.source.kind == "onnx" else None
    # Stages are compared on the values that the framework takes, as a folded file does not.
    given = request.floating
    if given is not None and not takes_raw_pixels(given):
        measured = candidates.measure(
            given, reference, workshop, name="the float file", work=inner / "outputs"
        )
        attempt = Attempt(route="given", path=str(given), state="used")
        made = FloatFile(
            path=given, parity=measured.parity, bindings=measured.bindings, attempt=attempt
        )
        tried: tuple[Attempt, ...] = (attempt,)
    else:
        made, tried = _made_as(request.candidate, planned, reference, workshop, inner)
        onnx = next(iter(made.path.parent.glob("*.onnx")), onnx)
        told = _origins(made.path.parent)
    floating, bindings = made.path, made.bindings
    # An output is one of the model's outputs, whatever is wrong with it.
    wanted = [spec.name for spec in reference.outputs]
    told = {**{t.name: wanted for t in read(floating).main.outputs}, **told}
    workshop.release(planned.runner)
    if onnx is not None:
        runner = source_converter("onnx", planned.converters)
        also = {**fed, "artifact": str(onnx)}
        traces += _look(runner, also, workshop, work / "onnx", notes)
        workshop.release(runner)
    floating = _as_quantized(floating, request.candidate, work)
    trace = trace_file(
        floating,
        candidates.feeds(reference, bindings, "parity"),
        workshop,
        work / "float",
        stage="float TFLite",
        title="Running the float file",
    )
    stages = _stages([*traces, (trace, {})], told)
    if conversion.fold_preprocess:
        made, _, pixels = fold_preprocess(planned, made, tried, reference, workshop, inner)
        floating = _as_quantized(made.path, request.candidate, inner)
        trace = trace_file(
            floating,
            candidates.feeds(pixels, made.bindings, "parity"),
            workshop,
            work / "raw-pixels",
            stage="float TFLite on raw pixels",
            title="Running the float file on raw pixels",
        )
    return Chain(floating=floating, trace=trace, stages=stages, notes=tuple(notes))


def _made_as(
    candidate: Path, planned: Plan, reference: Reference, workshop: Workshop, work: Path
) -> tuple[FloatFile, tuple[Attempt, ...]]:
    """The float file by the route that the candidate came, which its tensors' names tell.

    What another route makes is another graph. Where no route gives these names, the first that
    works is as good as any.

    Raises:
        NoRouteError, EnvironmentNotReady: no route works.
    """
    wanted = _inner_names(candidate)
    first: tuple[FloatFile, tuple[Attempt, ...]] | None = None
    for number, route in enumerate(planned.routes):
        folder = work / f"by-{number}"
        folder.mkdir()
        alone = replace(planned, routes=(route,), choose_fastest=False)
        try:
            found = make_float(alone, reference, workshop, folder)
        except (NoRouteError, EnvironmentNotReady):
            continue
        if len(wanted & _inner_names(found[0].path)) >= _ALIKE * len(wanted):
            return found
        first = first or found
    return first or make_float(planned, reference, workshop, work)


_ALIKE = 0.3
"""Quantizing adds and merges tensors, but keeps most names."""


def _inner_names(path: Path) -> set[str]:
    graph = read(path).main
    made = {tensor.name for operator in graph.operators for tensor in operator.outputs}
    return made - {tensor.name for tensor in graph.outputs}


def _look(
    converter: Converter,
    fed: dict[str, Any],
    workshop: Workshop,
    folder: Path,
    notes: list[str],
) -> list[tuple[Trace, dict[str, list[str]]]]:
    """A model's inside, or a note that it cannot be seen."""
    stage = "ONNX" if converter.name == "onnx" else converter.name
    try:
        found = trace_model(
            converter, fed, workshop, folder, stage=stage, title=f"Looking into {stage}"
        )
    except EdgekitError as error:
        notes.append(f"What is inside the {stage} model could not be seen: {error.cause}")
        return []
    return [found]


def _stages(
    traces: Sequence[tuple[Trace, dict[str, list[str]]]], told: Mapping[str, Sequence[str]]
) -> tuple[StageFinding, ...]:
    """Each trace against the one before it."""
    stages = []
    for (before, _), (after, modules) in itertools.pairwise(traces):
        hints = modules if any(modules.values()) else told
        found = departure(before, after, match(before, after, hints))
        stages.append(_with_remark(found, before, after))
    return tuple(stages)


def _with_remark(stage: StageFinding, before: Trace, after: Trace) -> StageFinding:
    """What the tensor where a stage departs has to do with what it should be."""
    import numpy as np

    first = next((one for one in stage.matches if one.candidate == stage.departs), None)
    if first is None:
        return stage
    point, source = after.named()[first.candidate], before.named()[first.reference]
    got = point.values(0)
    wanted = laid(source, 0, first.permutation, got.shape)
    remark = ""
    if not np.isfinite(got).all():
        remark = "It has values that are NaN or infinite."
    elif order := relations.turned(wanted, got):
        remark = f"It equals {source.name} with its axes in the order {order}."
    elif relations.reversed_channels(wanted, got):
        remark = f"It equals {source.name} with its channels reversed."
    elif difference := relations.activation(wanted, got):
        remark = f"{difference}."
    elif relations.at_the_border(wanted, got):
        remark = "The error is in the outermost rows and columns: look at the padding."
    elif relations.affine(wanted, got):
        remark = f"Each channel is a multiple of {source.name}'s plus a constant."
    return replace(stage, remark=remark)


def _origins(folder: Path) -> dict[str, list[str]]:
    """The source's values that each TFLite tensor is, as its converter may have written down."""
    found: dict[str, list[str]] = {}
    for path in folder.glob("*.origins.json"):
        found.update(json.loads(path.read_text(encoding="utf-8")))
    return found


def _steps(contract: Contract) -> list[Any]:
    return [asdict(e.preprocess) if e.preprocess else None for e in contract.inputs]
