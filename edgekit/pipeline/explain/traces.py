"""Writing down what is inside a model while it runs, one stack of samples for each tensor."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit.quantize.observe import expose_results
from edgekit.runners.litert import LITERT
from edgekit.tflite.flatbuffer import text
from edgekit.tflite.model import Model, read, write
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Workshop
from edgekit.validation.explain import stepping
from edgekit.validation.explain.points import Point, Trace

MOST_BYTES = 2 << 30
"""Tensors of one stage may take so much of the disk; fewer samples are compared where they would
take more."""


def graph_name(model: Model) -> str:
    """What Model Explorer calls the main graph: its name, else its signature's."""
    keys = [signature.signatureKey for signature in model.raw.signatureDefs or ()]
    return text(next((name for name in (model.main.raw.name, *keys) if name), "main"))


def affordable(path: Path, samples: int) -> int:
    """How many samples' tensors of a `.tflite` fit within `MOST_BYTES`; at least one."""
    tensors = [t for operator in read(path).main.operators for t in operator.outputs]
    each = sum(4 * math.prod(max(1, size) for size in tensor.shape) for tensor in tensors)
    return max(1, min(samples, MOST_BYTES // max(1, each)))


def trace_file(
    path: Path,
    feeds: Sequence[Mapping[str, Any]],
    workshop: Workshop,
    folder: Path,
    *,
    stage: str,
    title: str,
    kernels: str = "default",
) -> Trace:
    """Run a `.tflite` with every operator's result readable.

    Args:
        path: the file.
        feeds: one for each of its inputs, as the worker's verb `intermediates` takes them.
        workshop: has the runtime's worker.
        folder: for the copy and the tensors; made here.
        stage: what the trace is called.
        title: what the user sees meanwhile.
        kernels: ``default``, or ``reference`` for plain C without delegates.
    """
    folder.mkdir(parents=True)
    copy = folder / "exposed.tflite"
    model = read(path)
    expose_results(model)
    write(model, copy)
    makers = {t.name: op.name for op in read(path).main.operators for t in op.outputs}
    return _run(copy, feeds, workshop, folder, makers, stage=stage, title=title, kernels=kernels)


def trace_steps(
    model: Model,
    names: Collection[str],
    observed: Mapping[str, Point],
    workshop: Workshop,
    folder: Path,
    *,
    divisors: Mapping[str, Sequence[float]] | None = None,
    kernels: str = "default",
    title: str,
) -> Trace:
    """Run every operator of a graph on tensors that were written down before.

    Args:
        model: the graph; it is changed.
        names: the tensors where it is cut.
        observed: what is fed, by the names in the graph; it has all of ``names`` and the inputs.
        workshop, folder, title: as for `trace_file`.
        divisors: by what the channels of what is fed are divided.
        kernels: ``default``, or ``reference`` for plain C without delegates.
    """
    folder.mkdir(parents=True)
    copy = folder / "steps.tflite"
    fed = stepping.cut(model, {name: observed[name].shape for name in names})
    write(model, copy)
    feeds = [
        {**feed_of(observed[name]), "divisors": list((divisors or {}).get(name, ()))}
        for name in fed
    ]
    makers = {t.name: op.name for op in model.main.operators for t in op.outputs}
    return _run(copy, feeds, workshop, folder, makers, stage="steps", title=title, kernels=kernels)


def feed_of(point: Point) -> dict[str, Any]:
    """A written tensor as an input."""
    return {
        "path": str(point.file),
        "shape": list(point.shape),
        "permutation": list(range(len(point.shape))),
        "scale": point.scale,
        "zero_point": point.zero_point,
    }


def trace_model(
    converter: Converter,
    request: Mapping[str, Any],
    workshop: Workshop,
    folder: Path,
    *,
    stage: str,
    title: str,
) -> tuple[Trace, dict[str, list[str]]]:
    """Run a framework's model, or an ONNX file, with what is inside it readable.

    Args:
        converter: whose worker has the verb `intermediates`.
        request: its ``inputs`` and ``specs``, perhaps ``artifact``.
        workshop, folder, stage, title: as for `trace_file`.

    Returns:
        The trace, and for tensors that say so the paths of the modules that made them.
    """
    folder.mkdir(parents=True)
    result, _ = workshop.call(
        converter, "intermediates", {**request, "outputs_folder": str(folder)}, title=title
    )
    points = tuple(_point(entry, {entry["name"]: entry["operator"]}) for entry in result["points"])
    modules = {entry["name"]: entry.get("modules", []) for entry in result["points"]}
    return Trace(stage=stage, points=points, samples=int(result["samples"])), modules


def _run(
    path: Path,
    feeds: Sequence[Mapping[str, Any]],
    workshop: Workshop,
    folder: Path,
    makers: Mapping[str, str],
    *,
    stage: str,
    title: str,
    kernels: str = "default",
) -> Trace:
    request = {
        "artifact": str(path),
        "inputs": [dict(feed) for feed in feeds],
        "outputs_folder": str(folder),
        "kernels": kernels,
    }
    result, _ = workshop.call(LITERT, "intermediates", request, title=title)
    points = tuple(_point(entry, makers) for entry in result["points"])
    return Trace(stage=stage, points=points, samples=int(result["samples"]))


def _point(entry: Mapping[str, Any], makers: Mapping[str, str]) -> Point:
    return Point(
        name=entry["name"],
        operator=makers.get(entry["name"], "INPUT"),
        file=Path(entry["path"]),
        shape=tuple(entry["shape"]),
        scale=entry.get("scale", 0.0),
        zero_point=entry.get("zero_point", 0),
    )
