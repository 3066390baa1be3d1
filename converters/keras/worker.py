"""Keras models (.keras, .h5) and SavedModels: tells, runs and exports them.

Requests name the model once, in ``describe``; it stays loaded for the other verbs. Every verb works
on one function of static shapes in inference mode, so what is exported is what the reference ran.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

# Before TensorFlow is imported: the log stays readable, the user's GPU stays free, and Keras runs
# on TensorFlow whatever ~/.keras/keras.json says (its files are the same for every backend).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np
import tensorflow as tf
from keras_export import freeze, to_onnx, to_tflite, trace
from keras_intermediates import layers_of
from keras_quantized import FloatGraph, float_graph
from keras_source import describe_keras, first_layers, load_keras, load_weights
from loaded_model import LoadedModel, Spec
from saved_model_source import load_saved_model

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from named_source import load_named
from quantized_source import Distance, ScalesAnswer, it_is_quantized

from edgekit_worker import Stacks, WorkerError, timed_runs

Progress = Callable[..., None]

_loaded: dict[str, LoadedModel] = {}  # at most one, under "model"
_load_ms = {"load_ms": 0.0}
_trace = lru_cache(maxsize=2)(trace)
_freeze = lru_cache(maxsize=2)(freeze)
_as_float: list[bool] = [False]
"""Whether the float form of a quantized model was asked for."""


@lru_cache(maxsize=2)
def _float_graph(model: LoadedModel, shapes: tuple[tuple[int, ...], ...]) -> FloatGraph | None:
    return float_graph(_trace(model, shapes)) if _as_float[0] else None


def _function(model: LoadedModel, shapes: tuple[tuple[int, ...], ...]) -> Any:
    """The model, or its float form, for inputs of these shapes."""
    made = _float_graph(model, shapes)
    return _trace(model, shapes) if made is None else made.function


@lru_cache(maxsize=2)
def _itself(model: LoadedModel, shapes: tuple[tuple[int, ...], ...]) -> Any | None:
    """The quantized model; nothing where it is none, or was not to be made float."""
    if model.itself is not None:
        return trace(replace(model, call=model.itself), shapes)
    return None if _float_graph(model, shapes) is None else _trace(model, shapes)


def describe(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Load ``request["source"]`` and tell its inputs and outputs.

    Returns:
        ``inputs`` and ``outputs``: lists of ``name``, ``shape`` (``None`` where dynamic),
        ``dtype`` and ``layout``, in the model's own order.
    """
    progress(0.2, "loading the model")
    started = time.perf_counter()
    _as_float[0] = bool(request["source"].get("as_float"))
    model, told = _load(request["source"])
    _loaded["model"] = model
    _load_ms["load_ms"] = 1e3 * (time.perf_counter() - started)
    return {
        "preset_notes": told,
        "first_layers": first_layers(model.owner),
        "facts": _facts(model),
        "device": f"CPU, {_threads()} threads",
        "inputs": [asdict(spec) for spec in model.inputs],
        "outputs": [asdict(spec) for spec in model.outputs],
    }


def _facts(model: LoadedModel) -> dict[str, Any]:
    """The kinds of a Keras model's layers; of a SavedModel the size alone."""
    layers = getattr(model.owner, "layers", ())
    variables = getattr(model.owner, "variables", ())
    return {
        "format": f"TensorFlow {tf.__version__}",
        "operators": dict(Counter(type(layer).__name__ for layer in layers).most_common()),
        "parameters": sum(int(np.prod(variable.shape)) for variable in variables) or None,
    }


def reference(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Run the model on samples, one at a time as an app does.

    ``request["inputs"]`` maps names to .npy files of shape (N, *rest) for an input of shape
    (1, *rest), and (N, *shape) for one whose first dimension is not 1. The outputs are written to
    ``request["outputs_folder"]`` in the same form.

    Returns:
        ``outputs``: ``name``, ``shape`` of one sample, ``dtype`` and ``path`` of each.
    """
    model = _model()
    specs = {spec["name"]: spec for spec in request["specs"]}
    shapes = _shapes(model, specs)
    function, itself = _function(model, shapes), _itself(model, shapes)
    distance = Distance()
    files = [np.load(request["inputs"][spec.name], mmap_mode="r") for spec in model.inputs]
    count = _sample_count(files, model)
    samples: list[list[np.ndarray]] = [[] for _ in model.outputs]
    for index in range(count):
        feeds = _feeds(files, shapes, model, index)
        given = _run(function, feeds)
        for kept, tensor in zip(samples, given, strict=True):
            kept.append(tensor)
        if itself is not None:
            distance.add(given, _run(itself, feeds))
        progress((index + 1) / count, f"sample {index + 1} of {count}")
    folder = Path(request["outputs_folder"])
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "outputs": [
            _save(spec, arrays, folder / f"output_{index}.npy")
            for index, (spec, arrays) in enumerate(zip(model.outputs, samples, strict=True))
        ],
        "notes": _notes(model, shapes) + distance.notes(),
        "quantized": itself is not None,
    }


def _notes(model: LoadedModel, shapes: tuple[tuple[int, ...], ...]) -> list[str]:
    graph = _float_graph(model, shapes)
    operators = {**model.quantized, **(graph.operators if graph else {})}
    return [it_is_quantized(operators)] if operators else []


def scales(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """What the described model was quantized with, and what it says itself; see `ScalesAnswer`.

    The values of the float form and the outputs of the model are of the samples in ``inputs``.
    """
    model = _model()
    shapes = _shapes(model, {spec["name"]: spec for spec in request["specs"]})
    graph, itself = _float_graph(model, shapes), _itself(model, shapes)
    files = [np.load(request["inputs"][spec.name], mmap_mode="r") for spec in model.inputs]
    kept = ScalesAnswer(Path(request["outputs_folder"]))
    count = _sample_count(files, model)
    for index in range(count):
        feeds = _feeds(files, shapes, model, index)
        if graph is not None and graph.activations and index < ScalesAnswer.SAMPLES:
            values = _run(graph.values, feeds)
            for (name, how), value in zip(graph.activations.items(), values, strict=True):
                kept.activation(name, value, how.scale, how.zero, (how.low, 255))
        kept.outputs(_run(itself, feeds))
        progress((index + 1) / count, f"sample {index + 1} of {count}")
    for weights, channels in graph.weights if graph is not None else ():
        kept.weight(weights, channels)
    return kept.finish()


def intermediates(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Run stacked inputs as `reference` does, and write what each layer returns.

    Returns:
        ``points``: name (the layer's), operator (its class), path and shape of each, inputs first;
        ``samples``.
    """
    model = _model()
    layers = layers_of(model.owner)
    shapes = _shapes(model, {spec["name"]: spec for spec in request["specs"]})
    files = [np.load(request["inputs"][spec.name], mmap_mode="r") for spec in model.inputs]
    count = _sample_count(files, model)
    kept = Stacks(Path(request["outputs_folder"]), count)
    for index in range(count):
        feeds = _feeds(files, shapes, model, index)
        for spec, value in zip(model.inputs, feeds, strict=True):
            kept.keep(spec.name, "INPUT", value.numpy())
        for name, kind, value in layers(feeds):
            kept.keep(name, kind, value)
        kept.next_sample()
        progress((index + 1) / count, f"sample {index + 1} of {count}")
    return kept.finish()


def benchmark(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Time single inferences on the first sample of ``request["inputs"]``.

    Returns:
        ``load_ms`` as `describe` had it, ``first_ms`` (with tracing), ``samples_ms``, ``threads``.
    """
    model = _model()
    shapes = _shapes(model, {spec["name"]: spec for spec in request["specs"]})
    files = [np.load(request["inputs"][spec.name], mmap_mode="r") for spec in model.inputs]
    feeds = _feeds(files, shapes, model, 0)
    started = time.perf_counter()
    function = trace(model, shapes)
    _run(function, feeds)
    first_ms = 1e3 * (time.perf_counter() - started)

    def once() -> float:
        started = time.perf_counter()
        _run(function, feeds)
        return 1e3 * (time.perf_counter() - started)

    samples = timed_runs(once, request, progress)
    return {**_load_ms, "first_ms": first_ms, "samples_ms": samples, "threads": _threads()}


def convert(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write the model with the static shapes of ``request["inputs"]`` to ``request["output"]``.

    ``request["to"]`` is ``onnx`` or ``tflite``. Names, order and axes stay the model's own.

    Returns:
        ``artifact``: the path; ``inputs`` and ``outputs`` of the file, where ``source`` is the
        model's name of each and ``permutation`` says that no axis moved; ``options``.
    """
    model = _model()
    shapes = _shapes(model, {spec["name"]: spec for spec in request["inputs"]})
    progress(0.1, "tracing the model")
    frozen = _freeze(_function(model, shapes))
    progress(0.4, f"writing {request['to']}")
    output = Path(request["output"])
    write = to_onnx if request["to"] == "onnx" else to_tflite
    inputs, outputs, options = write(frozen, model, output)
    return {
        "artifact": str(output),
        "inputs": _bound(inputs, model.inputs),
        "outputs": _bound(outputs, model.outputs),
        "options": {**model.options, **options},
    }


def _load(source: dict[str, Any]) -> tuple[LoadedModel, dict[str, Any]]:
    """The model, and what its source notes where it is one by name."""
    if not source.get("named"):
        return _load_file(source), {}
    made, told = load_named(source)
    if source["kind"] == "saved_model":
        return _load_file({**source, "location": made}), told
    if source["weights"]:
        load_weights(made, Path(source["weights"]))
    return describe_keras(Path(source["location"]), made, make_float=False), told


def _load_file(source: dict[str, Any]) -> LoadedModel:
    path, trusted = Path(source["location"]), bool(source["trust_pickle"])
    if not path.exists():
        raise WorkerError(f"There is no file or folder {path}.", kind="model")
    if source["kind"] != "saved_model":
        return load_keras(path, source["weights"], trusted=trusted, make_float=_as_float[0])
    if source["weights"]:
        cause = "A SavedModel has its weights inside; it takes no other weights."
        raise WorkerError(cause, cure="Leave out --weights.", kind="usage")
    return load_saved_model(path, source.get("signature"), trusted=trusted)


def _model() -> LoadedModel:
    if "model" not in _loaded:
        raise WorkerError("No model is loaded: describe comes first.", kind="usage")
    return _loaded["model"]


def _shapes(model: LoadedModel, specs: dict[str, dict[str, Any]]) -> tuple[tuple[int, ...], ...]:
    """The requested shape of each of the model's inputs, in the model's order."""
    names = [spec.name for spec in model.inputs]
    if set(names) != set(specs):
        cause = f"The model's inputs are {', '.join(names)}; the request names {', '.join(specs)}."
        raise WorkerError(cause, kind="usage")
    return tuple(tuple(specs[name]["shape"]) for name in names)


def _sample_count(files: list[np.ndarray], model: LoadedModel) -> int:
    counts = {spec.name: len(file) for spec, file in zip(model.inputs, files, strict=True)}
    if len(set(counts.values())) != 1:
        raise WorkerError(f"The inputs have different numbers of samples: {counts}", kind="data")
    return next(iter(counts.values()))


def _feeds(
    files: list[np.ndarray], shapes: tuple[tuple[int, ...], ...], model: LoadedModel, index: int
) -> list[Any]:
    return [
        tf.constant(file[index].reshape(shape), spec.dtype)
        for file, shape, spec in zip(files, shapes, model.inputs, strict=True)
    ]


def _threads() -> int:
    """TensorFlow takes a thread per core that it may use, unless it was told another number."""
    told: int = tf.config.threading.get_intra_op_parallelism_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return told or cores or 1


def _run(function: Any, feeds: list[Any]) -> list[np.ndarray]:
    try:
        return [tensor.numpy() for tensor in function(*feeds)]
    except tf.errors.OpError as error:
        cause = f"TensorFlow cannot run the model: {error.message.splitlines()[0]}"
        raise WorkerError(cause, kind="model") from error


def _save(spec: Spec, arrays: list[np.ndarray], path: Path) -> dict[str, Any]:
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        cause = f"Output {spec.name} has another shape for another sample: {sorted(shapes)}."
        cure = "A .tflite file needs outputs of one shape: leave that step to the app."
        raise WorkerError(cause, cure=cure, kind="model")
    shape = shapes.pop()
    # The sample axis takes the place of a batch axis of 1.
    stacked = np.concatenate(arrays) if shape[:1] == (1,) else np.stack(arrays)
    np.save(path, stacked)
    return {"name": spec.name, "shape": shape, "dtype": stacked.dtype.name, "path": str(path)}


def _bound(written: list[Spec], specs: tuple[Spec, ...]) -> list[dict[str, Any]]:
    return [
        {**asdict(file), "source": spec.name, "permutation": list(range(len(spec.shape)))}
        for file, spec in zip(written, specs, strict=True)
    ]
