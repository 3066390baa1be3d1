"""Making and measuring int8 files: what the benchmarks of quantization have in common.

Every file is made in a process of its own, which is this module as a program: its seconds are those
of the whole process, imports included, and its memory is its peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias, get_args

import numpy as np

from edgekit.quantize.engine import Engine, quantize
from edgekit.quantize.mixed_precision import excepting, knee
from edgekit.quantize.observe import SampleFeed, samples
from edgekit.types import Effort

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

WARMUP, ROUNDS = 5, 100
STOCK = "stock"
ROWS: dict[str, str] = {
    STOCK: "litert-quantizer, its own ranges",
    **{effort: f"edgekit, effort {effort}" for effort in get_args(Effort)},
}
"""Every row that a float `.tflite` alone is enough for, and its title."""
MIXED = "mixed"
"""The knee of the front that `balanced` leads to, with float outputs."""


@dataclass(kw_only=True)
class Made:
    """A quantized file and what it cost."""

    title: str
    path: Path
    seconds: float = 0.0
    peak_gb: float = 0.0
    passes: list[dict[str, Any]] = field(default_factory=list)


def make(row: str, title: str, model: Path, feeds: Sequence[SampleFeed], folder: Path) -> Made:
    """Make one file in a process of its own.

    Args:
        row: a key of `ROWS`, ``mixed`` or ``tensorflow``; with ``raw-`` before it, it has another
            folder.
        title: what people call it.
        model: what the row starts from: a float `.tflite`; for ``tensorflow`` a SavedModel or a
            `.keras` file.
        feeds: calibration samples, one feed per input.
        folder: for a folder of the row's own.
    """
    work = folder / row
    work.mkdir(parents=True)
    output = work / "int8.tflite"
    request = {
        "model": str(model),
        "feeds": [asdict(feed) for feed in feeds],
        "output": str(output),
        "work": str(work),
    }
    command = [sys.executable, __file__, row.removeprefix("raw-"), json.dumps(request, default=str)]
    started = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if run.returncode or not output.exists():
        raise SystemExit(f"{title} failed:\n{run.stderr[-2000:]}")
    told = json.loads((work / "told.json").read_text(encoding="utf-8"))
    return Made(title=title, path=output, seconds=seconds, **told)


def outputs(path: Path, feeds: Sequence[SampleFeed]) -> list[Array]:
    """The real values of each output, (samples, …) without the batch axis."""

    def rows() -> Iterator[list[Array]]:
        for values in samples(feeds):
            for detail, value in zip(inputs, values, strict=True):
                interpreter.set_tensor(detail["index"], _stored(value, detail))
            interpreter.invoke()
            yield [_real(interpreter.get_tensor(detail["index"])[0], detail) for detail in ends]

    interpreter = _open(path, threads=2)
    inputs, ends = interpreter.get_input_details(), interpreter.get_output_details()
    return [np.stack(stack) for stack in zip(*rows(), strict=True)]


def latencies(paths: Sequence[Path]) -> list[float]:
    """The median milliseconds of each file, all timed in turn with one thread."""
    calls: list[Callable[[], Any]] = []
    for path in paths:
        interpreter = _open(path, threads=1)
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(detail["index"], np.ones(detail["shape"], detail["dtype"]))
        calls.append(interpreter.invoke)
    times: list[list[float]] = [[] for _ in paths]
    for number in range(WARMUP + ROUNDS):
        for call, mine in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            if number >= WARMUP:
                mine.append(time.perf_counter() - started)
    return [1e3 * median(mine) for mine in times]


def energies(wanted: Array, given: Array) -> tuple[Array, Array]:
    """The energy of the signal and of the noise in each sample, (samples,) each."""
    true = wanted.reshape(len(wanted), -1).astype(np.float64)
    lost = true - given.reshape(len(given), -1)
    return np.square(true).sum(axis=1), np.square(lost).sum(axis=1)


def sqnr_db(wanted: Array, given: Array) -> float:
    """The ratio of the signal's energy to the noise's, in decibels."""
    signal, noise = energies(wanted, given)
    return float(10 * np.log10((signal.sum() + 1e-30) / (noise.sum() + 1e-30)))


def _open(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _real(stored: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return (stored.astype(np.float64) - zero) * scale if scale else stored


def _stored(value: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        value = np.clip(np.rint(value / scale) + zero, limits.min, limits.max)
    return value.astype(detail["dtype"])


def _in_process(row: str, request: dict[str, Any]) -> None:
    """Make one file; this runs in a process of its own."""
    feeds = [SampleFeed(**{**told, "stack": Path(told["stack"])}) for told in request["feeds"]]
    model, output, work = (Path(request[key]) for key in ("model", "output", "work"))
    passes: list[dict[str, Any]] = []
    if row == STOCK:
        _by_litert_quantizer(model, output, feeds)
    elif row == MIXED:
        _mixed(model, output, feeds, work)
    elif row == "tensorflow":
        _by_tensorflow(model, output, feeds)
    else:
        passes = _by_edgekit(model, output, feeds, work, _effort(row))
    told = {"peak_gb": _peak_gb(), "passes": passes}
    (work / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _effort(row: str) -> Effort:
    for effort in get_args(Effort):
        if effort == row:
            known: Effort = effort
            return known
    raise SystemExit(f"no row {row}")


def _by_litert_quantizer(model: Path, output: Path, feeds: Sequence[SampleFeed]) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    engine = quantizer.Quantizer(str(model))
    engine.load_quantization_recipe(recipe.static_wi8_ai8())
    name, signature = next(iter(Interpreter(str(model)).get_signature_list().items()))
    runs = [dict(zip(signature["inputs"], values, strict=True)) for values in samples(feeds)]
    result = engine.quantize(engine.calibrate({name: runs}))
    output.write_bytes(result.quantized_model)


def _by_edgekit(
    model: Path, output: Path, feeds: Sequence[SampleFeed], work: Path, effort: Effort
) -> list[dict[str, Any]]:
    outcome = quantize(
        model,
        {"int8": output},
        feeds=feeds,
        work=work,
        effort=effort,
        progress=lambda _fraction, _message: None,
    )
    if outcome.failures:
        raise SystemExit(str(outcome.failures))
    return [vars(result) for result in outcome.passes]


def _mixed(model: Path, output: Path, feeds: Sequence[SampleFeed], work: Path) -> None:
    def silent(_fraction: float, _message: str) -> None: ...

    engine = Engine(model, feeds, work=work)
    front = engine.front(effort="balanced", method="auto", scheme="int8-mixed", progress=silent)
    exceptions = excepting((layer.members, layer.precision) for layer in knee(front).layers)
    outcome = engine.write({"int8-mixed": output}, exceptions=exceptions, progress=silent)
    if outcome.failures:
        raise SystemExit(str(outcome.failures))


def _by_tensorflow(model: Path, output: Path, feeds: Sequence[SampleFeed]) -> None:
    import tensorflow as tf

    if model.suffix == ".keras":
        import keras

        net = keras.saving.load_model(str(model))
        converter = tf.lite.TFLiteConverter.from_keras_model(net)
    else:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: samples(feeds)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    output.write_bytes(converter.convert())


def _peak_gb() -> float:
    """The peak memory of this process alone.

    Not ``ru_maxrss``: there Linux counts what the parent had at the moment of starting this one.
    """
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    _in_process(sys.argv[1], json.loads(sys.argv[2]))
