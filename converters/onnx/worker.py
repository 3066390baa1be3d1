"""ONNX: describe a file and run it with ONNX Runtime.

Verbs: ``describe``, ``reference``, ``scales``, ``intermediates``, ``benchmark``. The session is
kept between them.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.external_data_helper import ExternalDataInfo, uses_external_data
from onnx_dequantize import OnnxScales, dequantize, quantized_operators
from onnx_graph import Graph, attributes, sort_nodes
from onnx_intermediates import expose, modules
from onnx_layout import input_layout
from onnx_pooling import average_over_the_edge

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from quantized_source import Distance, ScalesAnswer, it_is_quantized

from edgekit_worker import Stacks, WorkerError, timed_runs

_session: onnxruntime.InferenceSession | None = None
_described: Path | None = None
_as_float = False

_RUNTIME_DOMAINS = {"ai.onnx", "com.microsoft", "com.ms.internal.nhwc", "org.pytorch.aten"}
"""ONNX Runtime's own operators, beside the standard's."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def describe(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Inputs and outputs of the file; a dimension that is open is null."""
    global _session, _described, _as_float
    path = _described = Path(request["source"]["location"])
    _as_float = bool(request["source"].get("as_float"))
    if request["source"].get("weights"):
        raise WorkerError("--weights does not go with an ONNX file.", kind="usage")
    progress(0.1, "reading the model")
    model = _read(path)
    check_external_data(model, path)
    _check_operators(model, path)
    try:
        if not sort_nodes(model):  # their order is all that the checker minds and others do not
            onnx.checker.check_model(str(path))
        elif not any(map(uses_external_data, model.graph.initializer)):
            onnx.checker.check_model(model)
        _session = _open(path, as_float=_as_float)
    except WorkerError:
        raise
    except Exception as error:
        raise WorkerError(
            f"{path} is not a valid ONNX model: {_first_line(error)}",
            cure="It may be damaged, or made by a newer ONNX than this edgekit knows; export it "
            "again, with opset 18.",
            kind="model",
        ) from error
    inputs = [_spec(value) for value in _session.get_inputs()]
    for spec in inputs:
        spec["layout"] = input_layout(model.graph, spec["name"])
    quantized = quantized_operators(model) if _as_float else {}
    return {
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "notes": [it_is_quantized(quantized)] if quantized else [],
        "facts": _facts(model),
        "device": f"CPU, {_threads()} threads",
        "inputs": inputs,
        "outputs": [_spec(value) for value in _session.get_outputs()],
    }


def _facts(model: onnx.ModelProto) -> dict[str, Any]:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    kinds = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in model.graph.node
    )
    return {
        "format": ", ".join(f"{domain} {version}" for domain, version in sorted(opsets.items())),
        "operators": dict(kinds.most_common()),
        "parameters": sum(math.prod(tensor.dims) for tensor in model.graph.initializer),
    }


def reference(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Run stacked inputs one sample at a time; write stacked outputs.

    ``request["artifact"]`` names a file to open first where it is not the described one.
    """
    global _session
    if "artifact" in request:
        _session = _open(Path(request["artifact"]))
    assert _session is not None
    specs = request["specs"]
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    names = [value.name for value in _session.get_outputs()]
    kept: list[list[np.ndarray]] = [[] for _ in names]
    count = len(stacks[0])
    for index in range(count):
        values = _run(_session, _feed(specs, stacks, index))
        for values_of_one, value in zip(kept, values, strict=True):
            values_of_one.append(np.asarray(value))
        progress((index + 1) / count, f"{index + 1} of {count} samples")
    outputs = []
    for number, (name, values) in enumerate(zip(names, kept, strict=True)):
        path = Path(request["outputs_folder"]) / f"output_{number}.npy"
        stacked = np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values)
        np.save(path, stacked)
        shape = list(values[0].shape)
        outputs.append(
            {"name": name, "shape": shape, "dtype": str(stacked.dtype), "path": str(path)}
        )
    notes = _distance(specs, stacks, kept)
    return {"outputs": outputs, "notes": notes, "quantized": bool(notes)}


def _distance(
    specs: list[dict[str, Any]], stacks: list[np.ndarray], kept: list[list[np.ndarray]]
) -> list[str]:
    """How far the float form of a quantized model is from the model, as a note."""
    distance = Distance()
    if _as_float and _described is not None and quantized_operators(_read(_described)):
        session = _open(_described)
        for index in range(len(stacks[0])):
            given = _run(session, _feed(specs, stacks, index))
            distance.add([values[index] for values in kept], given)
    return distance.notes()


def scales(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """What the described model was quantized with, and what it says itself; see `ScalesAnswer`.

    The values of the float form and the outputs of the model are of the samples in ``inputs``.
    """
    assert _described is not None
    specs, stored = request["specs"], OnnxScales()
    model = onnx.load(str(_described))
    sort_nodes(model)
    dequantize(model, stored)
    given = _open(_described)
    outputs = {value.name for value in model.graph.output}
    for name in stored.activations:
        if name not in outputs:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    kept = ScalesAnswer(Path(request["outputs_folder"]))
    exposed = Path(request["outputs_folder"]) / "exposed.onnx"
    onnx.save(model, exposed, save_as_external_data=model.ByteSize() > 1 << 30)
    session = _open(exposed)
    names = [value.name for value in session.get_outputs()]
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    count = len(stacks[0])
    for index in range(count):
        feed = _feed(specs, stacks, index)
        if index < ScalesAnswer.SAMPLES:
            values = dict(zip(names, _run(session, feed), strict=True))
            for name, (scale, zero, kind) in stored.activations.items():
                limits = np.iinfo(kind)
                kept.activation(name, values[name], scale, zero, (limits.min, limits.max))
        kept.outputs(_run(given, feed))
        progress((index + 1) / count, f"{index + 1} of {count} samples")
    for values, channels in stored.weights:
        kept.weight(values, channels)
    return kept.finish()


def intermediates(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Run ``request["artifact"]`` on stacked inputs, and write each of its float values.

    Returns:
        ``points``: name, operator, path, shape and modules (of PyTorch) of each, inputs first;
        ``samples``.
    """
    path, specs = Path(request["artifact"]), request["specs"]
    model = onnx.load(str(path))
    dequantize(model)
    came_from, made = modules(model), expose(model)
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    kept = Stacks(Path(request["outputs_folder"]), len(stacks[0]))
    exposed = Path(request["outputs_folder"]) / "exposed.onnx"
    onnx.save(model, exposed, save_as_external_data=model.ByteSize() > 1 << 30)
    session = _open(exposed)
    for index in range(len(stacks[0])):
        feed = _feed(specs, stacks, index)
        for name, value in feed.items():
            kept.keep(name, "INPUT", value)
        names = [value.name for value in session.get_outputs()]
        values = dict(zip(names, _run(session, feed), strict=True))
        for name, kind in made.items():
            value = values[name]
            if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
                kept.keep(name, kind, value, modules=came_from.get(name, []))
        kept.next_sample()
        progress((index + 1) / len(stacks[0]), f"{index + 1} of {len(stacks[0])} samples")
    return kept.finish()


def benchmark(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Open the described file anew and time single inferences on the first sample.

    Returns:
        ``load_ms``, ``first_ms``, ``samples_ms``, ``threads``.
    """
    assert _described is not None
    specs = request["specs"]
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    feed = _feed(specs, stacks, 0)
    started = time.perf_counter()
    session = _open(_described)
    load_ms = 1e3 * (time.perf_counter() - started)

    def once() -> float:
        started = time.perf_counter()
        _run(session, feed)
        return 1e3 * (time.perf_counter() - started)

    first_ms = once()
    samples = timed_runs(once, request, progress)
    return {
        "load_ms": load_ms,
        "first_ms": first_ms,
        "samples_ms": samples,
        "threads": _threads(),
    }


def _feed(
    specs: list[dict[str, Any]], stacks: list[np.ndarray], index: int
) -> dict[str, np.ndarray]:
    return {
        spec["name"]: np.array(stack[index]).reshape(spec["shape"])
        for spec, stack in zip(specs, stacks, strict=True)
    }


def _run(session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]) -> list[Any]:
    try:
        return session.run(None, feed)
    except Exception as error:
        raise WorkerError(
            f"ONNX Runtime cannot run the model: {_first_line(error)}",
            cure="Check --input: its shape, type and layout.",
            kind="model",
        ) from error


def _threads() -> int:
    """ONNX Runtime takes a thread per core that it may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # whatever protobuf says, it does not help the user
        raise _not_onnx(path) from error
    if not model.ir_version or not model.graph.node:  # random bytes are a message often enough
        raise _not_onnx(path)
    return model


def _not_onnx(path: Path) -> WorkerError:
    return WorkerError(
        f"{path} cannot be read as ONNX.",
        cure="It may be cut short, damaged or of another kind; save or copy it again.",
        kind="model",
    )


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Find the files beside ``path`` that hold its larger tensors.

    Raises:
        WorkerError: one is missing, or ends before the tensor does.
    """
    for tensor in model.graph.initializer:
        if not uses_external_data(tensor):
            continue
        info = ExternalDataInfo(tensor)
        file = path.parent / info.location
        if not file.is_file():
            raise WorkerError(
                f"{path} keeps its weights in {file}, which is not there.",
                cure=f"Copy {info.location} into the folder of {path.name}, under that name.",
                kind="model",
            )
        size, end = file.stat().st_size, (info.offset or 0) + (info.length or 0)
        if end > size:
            raise WorkerError(
                f"{file} is cut short: {tensor.name} ends at byte {end}, the file at {size}.",
                cure=f"Copy {info.location} again.",
                kind="model",
            )


def _check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Name the operators that are nobody's; the converters have no form for them either."""
    known = {"", *(schema.domain for schema in onnx.defs.get_all_schemas()), *_RUNTIME_DOMAINS}
    own = {(function.domain, function.name) for function in model.functions}
    custom = sorted(
        {
            f"{node.domain}:{node.op_type}"
            for node in model.graph.node
            if node.domain not in known and (node.domain, node.op_type) not in own
        }
    )
    if custom:
        raise WorkerError(
            f"{path} uses operators that are not part of ONNX: {', '.join(custom[:5])}.",
            cure="Export the model with standard operators; nothing but their own library can run "
            "these.",
            kind="model",
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _open(path: Path, *, as_float: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Optimised graphs compute in another order; the reference is the model as written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    model = _as_it_is_meant(path, as_float=as_float)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _as_it_is_meant(path: Path, *, as_float: bool) -> str | bytes:
    """The file; or the model made float, or without a node that ONNX Runtime computes wrongly."""
    model = onnx.load(str(path), load_external_data=False)
    make_float = as_float and quantized_operators(model)
    if not make_float and not any(map(_is_counted_wrong, model.graph.node)):
        return str(path)
    model = onnx.load(str(path))
    sort_nodes(model)
    if make_float:
        dequantize(model)
    Graph(model).rewrite({"AveragePool": average_over_the_edge})
    if model.ByteSize() > _LARGEST:
        raise WorkerError(
            f"{path} is quantized and larger than 2 GB as float.",
            cure="Give the float model that it was made from.",
            kind="model",
        )
    return model.SerializeToString()


_LARGEST = 2**31 - (1 << 20)
"""What fits into one protobuf message."""


def _is_counted_wrong(node: onnx.NodeProto) -> bool:
    return node.op_type == "AveragePool" and bool(attributes(node).get("ceil_mode"))


def _spec(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) and size > 0 else None for size in value.shape]
    if value.type not in _DTYPES:
        raise WorkerError(
            f"{value.name} has the type {value.type}, which edgekit cannot feed.",
            cure=f"It can feed and compare: {', '.join(_DTYPES.values())}",
            kind="model",
        )
    return {"name": value.name, "shape": shape, "dtype": _DTYPES[value.type], "layout": None}
