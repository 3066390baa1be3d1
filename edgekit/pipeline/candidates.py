"""A `.tflite` file against the reference: bind its tensors, run it, compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.errors import ConversionError
from edgekit.pipeline.parts import assemble
from edgekit.pipeline.reference import Reference
from edgekit.runners.litert import LITERT
from edgekit.tflite.metadata import read_contract
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Binding, LatencyReport, ParityReport, TensorSpec
from edgekit.validation import align
from edgekit.validation.parity import compare

_MOST_TRIALS = 9
"""So many ways of turning ambiguous inputs are measured before giving up."""


def measure(
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    *,
    name: str,
    work: Path,
    told: Sequence[dict[str, Any]] = (),
    parts: Mapping[str, Sequence[tuple[int, int, int]]] | None = None,
    figures: Callable[[Sequence[Binding], Sequence[Path]], dict[str, float]] | None = None,
) -> tuple[ParityReport, tuple[Binding, ...]]:
    """Run a file on the parity samples and compare it with the reference.

    Args:
        artifact: the file.
        reference: what to compare with.
        workshop: has the runner.
        name: what the candidate is called in the report.
        work: a folder for the outputs.
        told: what the converter says about the inputs' axes.
        parts: of the reference's outputs that mix ranges, see `edgekit.pipeline.parts`.
        figures: gives those of the task for the outputs' bindings and stacks, where they are asked
            for.

    Returns:
        The report, and how the inputs were bound (in the file's order).

    Raises:
        ConversionError: the file does not load or run, or its tensors fit no way.
    """
    described, _ = workshop.call(
        LITERT, "describe", {"artifact": str(artifact)}, title=f"Comparing {name}"
    )
    inputs, outputs = _specs(described["inputs"]), _specs(described["outputs"])
    choices = align.input_choices(reference.inputs, inputs, told)
    bindings = _settle(artifact, reference, workshop, choices, outputs, work)
    files = _run(artifact, reference, workshop, bindings, work, title=f"Comparing {name}")
    outputs, files = assemble(read_contract(artifact), outputs, files)
    aligned = align_files(reference, outputs, files)
    report = compare(
        reference="framework",
        candidate=name,
        data=reference.data.parity.digest,
        samples=reference.data.parity.ids,
        reference_files=reference.files,
        candidate_files=files,
        bindings=aligned,
        labels=reference.labels,
        parts=parts,
    )
    if figures is not None:
        report = replace(report, figures=figures(aligned, files))
    return report, bindings


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


def _settle(
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    choices: list[list[Binding]],
    outputs: tuple[TensorSpec, ...],
    work: Path,
) -> tuple[Binding, ...]:
    """The one way to turn the inputs; where shapes leave several, the one that measures best."""
    trials = [
        tuple(numbered(trial))
        for trial in itertools.islice(itertools.product(*choices), _MOST_TRIALS)
    ]
    if len(trials) == 1:
        return trials[0]
    contract = read_contract(artifact)

    def noise(trial: tuple[Binding, ...]) -> float:
        files = _run(
            artifact, reference, workshop, trial, work, title="Trying input layouts", samples=1
        )
        specs, files = assemble(contract, outputs, files)
        report = compare(
            reference="framework",
            candidate="trial",
            data="",
            samples=reference.data.parity.ids[:1],
            reference_files=reference.files,
            candidate_files=files,
            bindings=align_files(reference, specs, files),
        )
        return -report.worst_output.sqnr_db

    return min(trials, key=noise)


def numbered(bindings: Sequence[Binding]) -> list[Binding]:
    """The bindings with their places filled in."""
    return [replace(binding, index=index) for index, binding in enumerate(bindings)]


def _run(
    artifact: Path,
    reference: Reference,
    workshop: Workshop,
    bindings: Sequence[Binding],
    work: Path,
    *,
    title: str,
    samples: int | None = None,
) -> tuple[Path, ...]:
    work.mkdir(parents=True, exist_ok=True)
    result, _ = workshop.call(
        LITERT,
        "run",
        {
            "artifact": str(artifact),
            "inputs": feeds(reference, bindings, "parity"),
            "outputs_folder": str(work),
            "samples": samples,
        },
        title=title,
    )
    return tuple(map(Path, result["outputs"]))


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


def _specs(tables: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=t["name"], shape=tuple(t["shape"]), dtype=t["dtype"]) for t in tables
    )
