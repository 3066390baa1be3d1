"""Runs `.tflite` files with ai-edge-litert.

A worker: verbs ``describe``, ``run``, ``shapes``, ``consecutive``, ``intermediates``,
``benchmark``, ``footprint``, ``arena``, ``profile``.

Needs NumPy and a TFLite runtime only, so that it also runs in another environment or on a device.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_worker import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


def describe(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Inputs and outputs in the file's order, under the signature's names where it has one."""
    progress(0.1, "opening")
    interpreter = open_interpreter(request["artifact"], threads=1, shapes=request.get("shapes"))
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

    interpreter = open_interpreter(
        request["artifact"], threads=request.get("threads", 2), shapes=request.get("shapes")
    )
    details = interpreter.get_input_details()
    stacks = [np.load(entry["path"], mmap_mode="r") for entry in request["inputs"]]
    count = min(len(stacks[0]), request.get("samples") or len(stacks[0]))
    kept: list[list[Array]] = [[] for _ in interpreter.get_output_details()]
    for number in range(count):
        with _said_of(request["artifact"]):
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


@contextmanager
def _said_of(artifact: str) -> Iterator[None]:
    """What the runtime says while it runs a file that it has loaded, in words and with a cure."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        raise WorkerError(
            f"The TFLite runtime cannot run {Path(artifact).name}: "
            f"{(str(error).strip() or type(error).__name__).splitlines()[0][:300]}",
            cure="Look at it with: edgekit inspect. Where it is damaged, convert or copy the model "
            "again.",
        ) from error


def shapes(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """The shape of each tensor by its number, with the inputs in the stated ``shapes``."""
    import numpy as np

    progress(0.1, "opening")
    interpreter = open_interpreter(
        request["artifact"], threads=1, delegates=False, shapes=request["shapes"]
    )
    with _said_of(request["artifact"]):
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
        interpreter.invoke()  # shapes that are computed are known afterwards
    details = interpreter.get_tensor_details()
    return {"shapes": {str(one["index"]): one["shape"].tolist() for one in details}}


def consecutive(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Whether a file remembers the call before: run samples in a row, in two orders, unreset.

    ``request`` is as for `run`; 8 samples are enough to see it.

    Returns:
        ``sqnr_db``: signal over noise of the worst output and order, held against the same samples
        with a reset before each; 200 where all is equal to the bit. Around -3 means another value.
    """
    import numpy as np

    interpreter = open_interpreter(
        request["artifact"], threads=request.get("threads", 2), shapes=request.get("shapes")
    )
    details = interpreter.get_input_details()
    stacks = [np.load(entry["path"], mmap_mode="r") for entry in request["inputs"]]
    count = min(len(stacks[0]), request.get("samples") or 8)

    def outputs_of(number: int, *, reset: bool) -> list[Array]:
        for detail, stack, entry in zip(details, stacks, request["inputs"], strict=True):
            value = np.array(stack[number]).reshape(entry["shape"])
            value = value.transpose(entry["permutation"])
            interpreter.set_tensor(detail["index"], quantize(value, detail))
        if reset:
            interpreter.reset_all_variables()
        interpreter.invoke()
        results = interpreter.get_output_details()
        return [dequantize(interpreter.get_tensor(d["index"]), d).astype(float) for d in results]

    fresh = [outputs_of(number, reset=True) for number in range(count)]
    worst = 200.0
    for order in (range(count), reversed(range(count))):
        given = {number: outputs_of(number, reset=False) for number in order}
        for index in range(len(fresh[0])):
            signal = sum(float(np.sum(fresh[n][index] ** 2)) for n in range(count))
            noise = sum(float(np.sum((fresh[n][index] - given[n][index]) ** 2)) for n in given)
            if noise:
                worst = min(worst, 10 * float(np.log10(max(signal, 1e-300) / noise)))
        progress(0.5)
    return {"sqnr_db": worst}


def intermediates(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Run a file whose results are all outputs; write its inputs and outputs as they are stored.

    ``request["inputs"]`` is as for `run`, and each may also have ``scale`` and ``zero_point`` (the
    stack holds stored integers; not needed where the input stores the same), and ``divisors``, one
    for each entry of the last axis, that real values are divided by. ``request["kernels"]`` is
    ``default`` or ``reference``: plain C without delegates.

    Returns:
        ``points``: name, path of the stack (N, *shape), shape, scale and zero point of each.
    """
    import numpy as np

    reference = request.get("kernels") == "reference"
    interpreter = open_interpreter(request["artifact"], threads=2, reference_kernels=reference)
    inputs, results = interpreter.get_input_details(), interpreter.get_output_details()
    stacks = [np.load(entry["path"], mmap_mode="r") for entry in request["inputs"]]
    count = min(len(stacks[0]), request.get("samples") or len(stacks[0]))
    folder = Path(request["outputs_folder"])
    kept = {detail["index"]: detail for detail in [*inputs, *results] if _is_number(detail)}
    files: dict[int, Any] = {}
    for number in range(count):
        for detail, stack, entry in zip(inputs, stacks, request["inputs"], strict=True):
            interpreter.set_tensor(detail["index"], _fed(stack[number], entry, detail))
        # Inputs are read before the run: their memory may be used again in it.
        taken = {d["index"]: interpreter.get_tensor(d["index"]) for d in inputs}
        interpreter.reset_all_variables()
        interpreter.invoke()
        taken |= {d["index"]: interpreter.get_tensor(d["index"]) for d in results}
        for index in kept:
            value = taken[index]
            if index not in files:
                path = folder / f"tensor_{index}.npy"
                files[index] = np.lib.format.open_memmap(
                    path, mode="w+", dtype=value.dtype, shape=(count, *value.shape)
                )
            files[index][number] = value
        progress((number + 1) / count, f"{number + 1} of {count} samples")
    return {
        "points": [
            {
                "name": detail["name"],
                "path": str(folder / f"tensor_{index}.npy"),
                "shape": list(files[index].shape[1:]),
                "scale": float(detail["quantization"][0]),
                "zero_point": int(detail["quantization"][1]),
            }
            for index, detail in kept.items()
        ],
        "samples": count,
    }


def _is_number(detail: dict[str, Any]) -> bool:
    import numpy as np

    return bool(np.issubdtype(detail["dtype"], np.number))


def _fed(stored: Array, entry: dict[str, Any], detail: dict[str, Any]) -> Array:
    """One sample of a stack as the input stores it."""
    import numpy as np

    value = np.array(stored).reshape(entry["shape"]).transpose(entry["permutation"])
    scale = entry.get("scale")
    if scale and value.dtype == detail["dtype"]:
        return np.asarray(value, order="C")
    if scale:
        value = (value.astype(np.float32) - np.float32(entry["zero_point"])) * np.float32(scale)
    if entry.get("divisors"):
        value = value / np.asarray(entry["divisors"], np.float32)
    return quantize(value, detail)


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
        interpreter = open_interpreter(artifact, threads=threads)
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


def footprint(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """What one file costs a process that has nothing else: loading and the first inference.

    Returns:
        ``load_ms`` without the runtime itself, and ``first_ms``.
    """
    import ai_edge_litert.interpreter  # noqa: F401  so that the runtime is there
    import numpy as np

    progress(0.1, "loading")
    started = time.perf_counter()
    interpreter = open_interpreter(request["artifact"], threads=request["threads"])
    loaded = time.perf_counter()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    first = time.perf_counter()
    return {"load_ms": 1e3 * (loaded - started), "first_ms": 1e3 * (first - loaded)}


def arena(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """How many bytes activations and scratch tensors take at once.

    Counted are the bytes that tensors cover which are not in ``request["constants"]``, each once,
    with the runtime's own kernels: a delegate keeps the tensors that it took over in memory of its
    own, about which the runtime tells nothing.
    """
    progress(0.1, "loading")
    interpreter = open_interpreter(request["artifact"], threads=1, delegates=False)
    interpreter.invoke()
    constants = set(request["constants"])
    spans = []
    for detail in interpreter.get_tensor_details():
        if detail["index"] not in constants:
            try:
                view = interpreter.tensor(detail["index"])()
            except ValueError:  # a scratch tensor without memory
                continue
            start = view.__array_interface__["data"][0]
            spans.append((start, start + view.nbytes))
    covered, reached = 0, 0
    for start, end in sorted(spans):
        covered += max(0, end - max(start, reached))
        reached = max(reached, end)
    return {"bytes": covered}


def profile(request: dict[str, Any], progress: Callable[..., None]) -> dict[str, Any]:
    """Where an inference spends its time, from LiteRT's own profiler, with one thread.

    The profiler belongs to LiteRT's C interface, which the Python package has in its library but
    not in Python; that is why it is called by ctypes. Inputs are zeros.

    Returns:
        ``summary``: the profiler's table, a line per operator in the order of execution.
    """
    import ctypes

    import ai_edge_litert

    library = ctypes.CDLL(str(Path(ai_edge_litert.__file__).with_name("libLiteRt.so")))
    pointer, size = ctypes.c_void_p, ctypes.c_size_t

    def call(name: str, *arguments: Any) -> None:
        if status := getattr(library, name)(*arguments):
            raise WorkerError(f"LiteRT's {name} failed with the status {status}.")

    def made(name: str, *arguments: Any) -> Any:
        result = pointer()
        call(name, *arguments, ctypes.byref(result))
        return result

    progress(0.1, "loading")
    environment = made("LiteRtCreateEnvironment", 0, None)
    model = made("LiteRtCreateModelFromFile", environment, request["artifact"].encode())
    options = made("LiteRtCreateOptions")
    call("LiteRtSetOptionsHardwareAccelerators", options, 1)  # the CPU
    text = ctypes.create_string_buffer(b"enable_profiling = true\n")
    nothing = ctypes.CFUNCTYPE(None, pointer)(lambda _: None)  # nobody is to free our own memory
    stated = made("LiteRtCreateOpaqueOptions", b"runtime_options_string", text, nothing)
    call("LiteRtAddOpaqueOptions", options, stated)
    compiled = made("LiteRtCreateCompiledModel", environment, model, options)
    profiler = made("LiteRtCompiledModelGetProfiler", compiled)
    if not profiler.value:
        raise WorkerError("This LiteRT has no profiler.")
    signature = made("LiteRtGetModelSignature", model, size(0))

    def buffers(kind: str) -> tuple[Any, Any]:
        count = size()
        call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        found = []
        for number in range(count.value):
            place = size(number)
            needs = made(
                f"LiteRtGetCompiledModel{kind}BufferRequirements", compiled, size(0), place
            )
            tensor = made(f"LiteRtGetSignature{kind}TensorByIndex", signature, place)
            shape = ctypes.create_string_buffer(1024)  # a struct that nobody but LiteRT looks into
            call("LiteRtGetRankedTensorType", tensor, shape)
            create = "LiteRtCreateManagedTensorBufferFromRequirements"
            found.append(made(create, environment, shape, needs))
            call("LiteRtClearTensorBuffer", found[-1])
        return count, (pointer * len(found))(*[one.value for one in found])

    given = (*buffers("Input"), *buffers("Output"))
    for number in range(request["warmup"] + request["runs"]):
        if number == request["warmup"]:
            call("LiteRtStartProfiler", profiler)
        call("LiteRtRunCompiledModel", compiled, size(0), *given)
    call("LiteRtStopProfiler", profiler)
    summary = ctypes.c_char_p()
    call("LiteRtGetProfileSummary", profiler, compiled, ctypes.byref(summary))
    return {"summary": (summary.value or b"").decode(errors="replace")}


def quantize(value: Array, detail: dict[str, Any]) -> Array:
    """Real values as the tensor stores them (``q = round(r / scale) + zero_point``, saturated)."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale and dtype.kind in "iu":
        limits = np.iinfo(dtype)
        value = np.asarray(value / scale)
        # In place: large inputs are otherwise slower to allocate than to compute.
        np.rint(value, out=value)
        value += zero_point
        np.clip(value, limits.min, limits.max, out=value)
    return np.asarray(value, dtype, order="C")  # ascontiguousarray makes a scalar a vector


def dequantize(value: Array, detail: dict[str, Any]) -> Array:
    """Stored values as real ones, in float32; integers without a scale stay integers."""
    import numpy as np

    scale, zero_point = detail["quantization"]
    if scale and value.dtype.kind in "iu":
        return (value.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return value.astype(np.float32) if value.dtype == np.float16 else value


def open_interpreter(
    artifact: str,
    *,
    threads: int,
    reference_kernels: bool = False,
    delegates: bool = True,
    shapes: list[list[int]] | None = None,
) -> Any:
    """An interpreter that is ready to be invoked, with other ``shapes`` of its inputs if stated.

    Raises:
        WorkerError: the runtime refuses the file, as for an operator that it does not know.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
    if not delegates:
        resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES

    try:
        interpreter = Interpreter(
            model_path=artifact, num_threads=threads, experimental_op_resolver_type=resolver
        )
        for place, detail in enumerate(interpreter.get_input_details()):
            stored = detail["shape"].tolist()
            shape = shapes[place] if shapes else [max(1, size) for size in stored]
            if shape != stored:
                interpreter.resize_tensor_input(detail["index"], shape)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise WorkerError(
            f"The TFLite runtime does not load {Path(artifact).name}: "
            f"{str(error).strip().splitlines()[0][:300]}",
            cure=_cure(str(error)),
        ) from error
    return interpreter


def _cure(said: str) -> str:
    if "Flex delegate" in said:
        return (
            "Some operators are TensorFlow's own (Flex…: edgekit inspect names them), which this "
            "runtime does not have. Convert the model itself with edgekit, which writes none."
        )
    custom = re.search(r"custom op: *([\w.:-]*\w)", said)
    if custom is None:
        return "An operator or its version is unknown to this runtime; the log says which."
    return (
        f"{custom[1]} is a custom operator: its code comes with the app, and without it edgekit "
        "can neither run nor prove the file. End the model before it, or build it of others."
    )


def _tensors(details: list[dict[str, Any]], names: dict[str, int]) -> list[dict[str, Any]]:
    by_index = {index: name for name, index in names.items()}
    return [
        {
            "name": by_index.get(detail["index"], detail["name"]),
            "shape": [int(size) for size in detail["shape"]],
            "dtype": detail["dtype"].__name__,
            "scale": float(detail["quantization"][0]),
            "zero_point": int(detail["quantization"][1]),
        }
        for detail in details
    ]
