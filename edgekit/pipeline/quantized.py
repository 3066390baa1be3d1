"""From the float file to one file per scheme, each with its contract inside and its proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit import sources
from edgekit.contract import Contract, InputContract, OutputContract
from edgekit.errors import ConversionError
from edgekit.pipeline import candidates
from edgekit.pipeline.floats import FloatFile
from edgekit.pipeline.plan import PREPARED_NAME, Plan
from edgekit.pipeline.reference import Reference
from edgekit.results import FileResult
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.summary import Summary, summarize
from edgekit.toolchain.converters import own_worker
from edgekit.toolchain.workshop import Workshop
from edgekit.types import (
    Artifact,
    Binding,
    LatencyReport,
    Layout,
    ParityReport,
    Scheme,
    Step,
    TensorSpec,
    Verdict,
)
from edgekit.validation import gates

QUANTIZER = own_worker(
    "quantize",
    Path(__file__).parents[1] / "quantize" / "worker.py",
    versions=("litert-quantizer", "ai-edge-litert", "numpy"),
)


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A file with its parity; the latencies of all come together, later."""

    scheme: Scheme
    path: Path
    summary: Summary
    parity: ParityReport


def make_files(
    plan: Plan, floating: FloatFile, reference: Reference, workshop: Workshop, work: Path
) -> tuple[FileResult, ...]:
    """Quantize, embed the contract, compare, time and judge.

    Returns:
        One result per scheme, in the plan's order. A scheme that could not be made has an
        ``error`` and a failed verdict.
    """
    folder = work / "files"
    folder.mkdir()
    failures = _quantize(plan, floating, reference, workshop, folder, work)
    made, errors = [], dict(failures)
    for scheme in plan.schemes:
        if scheme in failures:
            continue
        try:
            made.append(_finish(plan, scheme, floating, reference, workshop, folder, work))
        except ConversionError as error:
            errors[scheme] = error.cause
    latencies: Sequence[LatencyReport] = []
    if made:
        latencies = candidates.benchmark(
            [one.path for one in made],
            workshop,
            threads=plan.request.threads,
            title="Measuring latency",
        )
    results = {
        one.scheme: _judge(plan, one, latency, floating, reference, workshop)
        for one, latency in zip(made, latencies, strict=True)
    }
    for scheme, why in errors.items():
        results[scheme] = _failed(plan, scheme, why, reference)
    return tuple(results[scheme] for scheme in plan.schemes)


def _quantize(
    plan: Plan,
    floating: FloatFile,
    reference: Reference,
    workshop: Workshop,
    folder: Path,
    work: Path,
) -> dict[Scheme, str]:
    request = plan.request
    # Random inputs must not steer anything: their statistics are nobody's.
    effort = "none" if request.synthetic else request.effort
    result, _ = workshop.call(
        QUANTIZER,
        "quantize",
        {
            "artifact": str(floating.path),
            "outputs": {scheme: str(folder / f"{scheme}.raw") for scheme in plan.schemes},
            "feeds": candidates.feeds(reference, floating.bindings, "calibration"),
            "work": str(work),
            "effort": effort,
            "ranges": request.ranges,
            "keep_prepared": str(work / PREPARED_NAME) if request.keep_prepared else None,
        },
        title="Quantizing",
        options={
            "schemes": list(plan.schemes),
            "data": reference.data.calibration.digest,
            "samples": reference.data.calibration.count,
            "effort": effort,
            "ranges": request.ranges,
        },
    )
    workshop.release(QUANTIZER)
    failures: dict[Scheme, str] = result["failures"]
    return failures


def _finish(
    plan: Plan,
    scheme: Scheme,
    floating: FloatFile,
    reference: Reference,
    workshop: Workshop,
    folder: Path,
    work: Path,
) -> _Made:
    raw, path = folder / f"{scheme}.raw", folder / plan.file(scheme).name
    contract = file_contract(
        reference.contract, floating.bindings, floating.parity.bindings, summarize(raw)
    )
    embed_contract(raw, path, contract)
    raw.unlink()
    # Measured with the contract inside: what is measured is byte for byte what is delivered.
    parity, _ = candidates.measure(
        path,
        reference,
        workshop,
        name=scheme,
        work=work / f"outputs-{scheme}",
        told=[
            {"source": binding.reference, "permutation": binding.permutation}
            for binding in floating.bindings
        ],
    )
    return _Made(scheme=scheme, path=path, summary=summarize(path), parity=parity)


def file_contract(
    contract: Contract,
    bindings: Sequence[Binding],
    output_bindings: Sequence[Binding],
    summary: Summary,
) -> Contract:
    """The contract as it holds for a file: its own shapes, types and layouts, in its own order.

    Args:
        contract: the framework's side.
        bindings: which input of the file is which, and how its axes are turned.
        output_bindings: the same for the outputs.
        summary: of the file.
    """
    by_name = {entry.tensor.name: entry for entry in contract.inputs}
    inputs = []
    for binding, port in zip(bindings, summary.inputs, strict=True):
        entry = by_name[binding.reference]
        inputs.append(
            InputContract(
                tensor=TensorSpec(
                    name=binding.reference,
                    shape=port.tensor.shape,
                    dtype=port.tensor.dtype,
                    layout=_layout(entry.tensor.layout, binding.permutation),
                ),
                preprocess=entry.preprocess,
                assumed=entry.assumed,
            )
        )
    return Contract(inputs=tuple(inputs), outputs=_file_outputs(contract, output_bindings, summary))


def _file_outputs(
    contract: Contract, bindings: Sequence[Binding], summary: Summary
) -> tuple[OutputContract, ...]:
    """The outputs in the file's order; one that the framework does not have keeps its own name."""
    stated = {entry.tensor.name: entry for entry in contract.outputs}
    bound = {binding.index: binding for binding in bindings}
    outputs = []
    for index, port in enumerate(summary.outputs):
        binding = bound.get(index)
        entry = stated.get(binding.reference) if binding else None
        tensor = replace(
            port.tensor,
            name=binding.reference if binding else port.tensor.name,
            layout=_layout(entry.tensor.layout, binding.permutation) if binding and entry else None,
        )
        outputs.append(replace(entry, tensor=tensor) if entry else OutputContract(tensor=tensor))
    return tuple(outputs)


def _layout(layout: Layout | None, permutation: tuple[int, ...]) -> Layout | None:
    if permutation == (0, 2, 3, 1):
        return "NHWC"
    if permutation == (0, 3, 1, 2):
        return "NCHW"
    return layout


def _judge(
    plan: Plan,
    made: _Made,
    latency: LatencyReport,
    floating: FloatFile,
    reference: Reference,
    workshop: Workshop,
) -> FileResult:
    task = reference.contract.task
    measured = gates.metrics(
        made.parity,
        latency,
        size_bytes=made.path.stat().st_size,
        integer_share=made.summary.integer_share,
    )
    return FileResult(
        scheme=made.scheme,
        artifact=Artifact(
            path=made.path,
            sha256=sources.digest(made.path),
            kind="tflite",
            scheme=made.scheme,
            size_bytes=made.path.stat().st_size,
            lineage=_lineage(floating, workshop),
        ),
        parity=made.parity,
        latency=latency,
        verdict=gates.judge(gates.for_file(made.scheme, task, plan.gates), measured),
        metrics=measured,
        integer_share=made.summary.integer_share,
        float_ops=tuple(sorted({op.op for op in made.summary.float_ops})),
    )


def _lineage(floating: FloatFile, workshop: Workshop) -> tuple[Step, ...]:
    quantizing = [step for step in workshop.steps if step.tool == QUANTIZER.name]
    return *floating.attempt.steps, *quantizing


def _failed(plan: Plan, scheme: Scheme, why: str, reference: Reference) -> FileResult:
    wanted = gates.for_file(scheme, reference.contract.task, plan.gates)
    unmet = gates.judge(wanted, {gate.metric: float("nan") for gate in wanted})
    return FileResult(
        scheme=scheme,
        artifact=Artifact(path=plan.file(scheme), sha256="", kind="tflite", scheme=scheme),
        parity=None,
        latency=None,
        verdict=Verdict(gates=unmet.gates),
        metrics={},
        error=why,
    )
