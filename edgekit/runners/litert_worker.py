"""Runs `.tflite` files with ai-edge-litert. A worker: verbs ``describe``, ``run``, ``benchmark``.

Needs NumPy and a TFLite runtime only, so that it also runs in another environment or on a device.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def describe(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Inputs and outputs in the file's order, under the signature's names where it has one."""
    progress(0.1, "opening")
    interpreter = _open(request["artifact"], threads=1)
    # The public get_signature_list() leaves out which tensor a name stands for.
    signatures = interpreter._get_full_signature_list()  # noqa: SLF001
    signature: dict[str, dict[str, int]] = next(iter(signatures.values()), {})
    return {
        "inputs": _tensors(interpreter.get_input_details(), signature.get("inputs", {})),
        "outputs": _tensors(interpreter.get_output_details(), signature.get("outputs", {})),
    }


def run(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Run stacked inputs one sample at a time; write stacked float outputs.

    ``request["inputs"]`` has, for each input of the file in its order, ``path`` (a stack of shape
    (N, …)), ``shape`` (of one reference sample) and ``permutation`` (reference axes to the file's).
    State that the graph keeps between runs (an LSTM's) is cleared before each sample, as the
    framework starts afresh. Values are quantized on the way in and dequantized on the way out as
    the file says.
    """
    import numpy as np

    interpreter = _open(request["artifact"], threads=request.get("threads", 2))
    details = interpreter.get_input_details()
    stacks = [np.load(entry["path"], mmap_mode="r") for entry in request["inputs"]]
    count = min(len(stacks[0]), request.get("samples") or len(stacks[0]))
    kept: list[list[Array]] = [[] for _ in interpreter.get_output_details()]
    for number in range(count):
        for detail, stack, entry in zip(details, stacks, request["inputs"], strict=True):
            value = np.array(stack[number]).reshape(entry["shape"])
            value = value.transpose(entry["permutation"])
            interpreter.set_tensor(detail["index"], quantize(value, detail))
        interpreter.reset_all_variables()  # each sample is a sequence of its own
        interpreter.invoke()
        for values, detail in zip(kept, interpreter.get_output_details(), strict=True):
            values.append(dequantize(interpreter.get_tensor(detail["index"]), detail))
        progress((number + 1) / count, f"{number + 1} of {count} samples")
    paths = []
    for number, values in enumerate(kept):
        path = Path(request["outputs_folder"]) / f"output_{number}.npy"
        np.save(path, np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values))
        paths.append(str(path))
    return {"outputs": paths, "shapes": [list(values[0].shape) for values in kept]}


def benchmark(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Time single invocations of several files in turn, so that machine noise hits all alike.

    Returns:
        Per file: ``load_ms``, ``first_ms`` and the raw ``samples_ms``.
    """
    import numpy as np

    threads, warmup = request["threads"], request["warmup"]
    runners: list[Any] = []
    results: list[dict[str, Any]] = []
    for artifact in request["artifacts"]:
        started = time.perf_counter()
        interpreter = _open(artifact, threads=threads)
        loaded = time.perf_counter()
        generator = np.random.default_rng(0)
        for detail in interpreter.get_input_details():
            value = generator.random(detail["shape"], dtype=np.float32)
            interpreter.set_tensor(detail["index"], quantize(value, detail))
        interpreter.invoke()
        first = time.perf_counter()
        for _ in range(warmup):
            interpreter.invoke()
        runners.append(interpreter)
        results.append(
            {
                "load_ms": 1e3 * (loaded - started),
                "first_ms": 1e3 * (first - loaded),
                "samples_ms": [],
            }
        )
    deadline = time.perf_counter() + request["seconds"]
    for round_number in range(request["runs"]):
        for interpreter, result in zip(runners, results, strict=True):
            started = time.perf_counter()
            interpreter.invoke()
            result["samples_ms"].append(1e3 * (time.perf_counter() - started))
        progress((round_number + 1) / request["runs"])
        if time.perf_counter() > deadline and round_number >= 4:
            break
    return {"results": results, "threads": threads, "warmup": warmup}


def quantize(value: Array, detail: dict[str, Any]) -> Array:
    """Real values as the tensor stores them (``q = round(r / scale) + zero_point``, saturated)."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale and np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        value = np.clip(np.rint(value / scale) + zero_point, limits.min, limits.max)
    return np.ascontiguousarray(value.astype(dtype))


def dequantize(value: Array, detail: dict[str, Any]) -> Array:
    """Stored values as real ones, in float32; integers without a scale stay integers."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if scale and np.issubdtype(value.dtype, np.integer):
        return (value.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _open(artifact: str, *, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=artifact, num_threads=threads)
        for detail in interpreter.get_input_details():
            if -1 in detail["shape_signature"]:  # an open dimension, which is a batch of one here
                shape = [1 if size < 1 else size for size in detail["shape_signature"]]
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"The TFLite runtime does not load {Path(artifact).name}: "
            f"{str(error).strip().splitlines()[0][:300]}",
            cure="An operator or its version is unknown to this runtime; the log says which.",
        ) from error
    return interpreter


def _tensors(details: list[dict[str, Any]], names: dict[str, int]) -> list[dict[str, Any]]:
    by_index = {index: name for name, index in names.items()}
    return [
        {
            "name": by_index.get(detail["index"], detail["name"]),
            "shape": [int(size) for size in detail["shape"]],
            "dtype": detail["dtype"].__name__,
        }
        for detail in details
    ]
