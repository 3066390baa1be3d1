"""How good int8 files are: stock litert-quantizer beside edgekit at each effort, on the same data.

    python benchmarks/int8_quality.py [--model FILE.tflite] [--calibration DIR] [--evaluation DIR]

Every row is made in a process of its own: the seconds are those of the whole process, imports
included, and the memory is its peak. The files are compared with the float `.tflite` on the
evaluation pictures, and then timed in turn, with one thread, so that noise hits all alike.

Without ``--evaluation`` the calibration folder's own split is used, by its manifest if it has one.
Without ``--model`` EfficientNet-Lite0 is converted first.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edgekit.calibration.load import load
from edgekit.calibration.samples import Dataset, SampleSet
from edgekit.quantize.engine import quantize
from edgekit.quantize.observe import Feed, samples
from edgekit.tflite.metadata import read_contract
from edgekit.types import Effort

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = f"{REPOSITORY}/examples/efficientnet_lite0.py:build"
CONFIG = str(REPOSITORY / "examples" / "efficientnet_lite0.toml")
WARMUP, ROUNDS = 5, 100


@dataclass(kw_only=True)
class Made:
    """A quantized file and what it cost."""

    title: str
    path: Path
    seconds: float = 0.0
    peak_gb: float = 0.0
    passes: list[dict[str, Any]] = field(default_factory=list)


def main() -> None:
    """Make all files, measure, print."""
    options = _options()
    if options.row:
        _in_process(options.row, json.loads(options.request))
        return
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or _convert_demo(folder)
        data = _load(model, options, folder)
        made = [Made(title="float", path=model)]
        for row, title in _rows(options, console).items():
            console.print(f"making: {title}", style="dim")
            made.append(_make(row, title, model, data, options, folder))
        latencies = _latencies([one.path for one in made])
        console.print(_table(made, latencies, model, data))
        for one in made:
            if one.passes:
                console.print(_passes(one))
    console.print(
        f"{data.calibration.count} samples for calibration, {data.parity.count} for evaluation"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a float .tflite with edgekit's contract inside")
    parser.add_argument("--calibration", type=Path, default=REPOSITORY / "calibration_data")
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--samples", type=int, default=128, help="for calibration")
    parser.add_argument("--evaluation-samples", type=int, default=256)
    parser.add_argument(
        "--saved-model", type=Path, help="the same model for TFLiteConverter, with the same inputs"
    )
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--request", help=argparse.SUPPRESS)
    return parser.parse_args()


def _convert_demo(folder: Path) -> Path:
    output = folder / "demo"
    command = [sys.executable, "-m", "edgekit", "convert", MODEL, "--config", CONFIG, "--quiet"]
    command += ["--scheme", "fp32", "--output", str(output)]
    subprocess.run(command, check=True)
    return next(output.glob("*_fp32.tflite"))


class _Silent:
    """The progress that nobody looks at."""

    def step(self, title: str) -> None: ...

    def update(self, fraction: float, message: str = "") -> None: ...

    def note(self, message: str) -> None: ...


def _load(model: Path, options: argparse.Namespace, folder: Path) -> Dataset:
    contract = read_contract(model)
    if contract is None:
        raise SystemExit(f"{model} has no contract: make it with edgekit convert --scheme fp32")
    return load(
        options.calibration,
        contract,
        folder=folder / "data",
        calibration_samples=options.samples,
        parity_samples=options.evaluation_samples,
        parity_path=options.evaluation,
        progress=_Silent(),
    )


def _rows(options: argparse.Namespace, console: Console) -> dict[str, str]:
    """The rows that can be made; why the others cannot is printed."""
    rows = {
        "stock": "litert-quantizer, its own ranges",
        "none": "litert-quantizer, true min-max (effort none)",
        "fast": "edgekit, effort fast",
        "balanced": "edgekit, effort balanced",
    }
    if importlib.util.find_spec("tensorflow") is None:
        console.print("left out: TFLiteConverter, since TensorFlow is not installed")
    elif options.saved_model is None:
        console.print(
            "left out: TFLiteConverter, since it takes no .tflite (give it --saved-model)"
        )
    else:
        rows["tensorflow"] = "TFLiteConverter"
    if importlib.util.find_spec("nncf") is None:
        console.print("left out: NNCF, since it is not installed")
    else:
        console.print("left out: NNCF, since it takes no .tflite and makes none")
    return rows


def _make(
    row: str, title: str, model: Path, data: Dataset, options: argparse.Namespace, folder: Path
) -> Made:
    work = folder / row
    work.mkdir()
    output = work / "int8.tflite"
    request = {
        "model": str(options.saved_model if row == "tensorflow" else model),
        "feeds": [
            [str(feed.stack), feed.shape, feed.permutation]
            for feed in _feeds(model, data.calibration)
        ],
        "output": str(output),
        "work": str(work),
    }
    command = [sys.executable, __file__, "--row", row, "--request", json.dumps(request)]
    started = time.perf_counter()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if run.returncode or not output.exists():
        raise SystemExit(f"{title} failed:\n{run.stderr[-2000:]}")
    told = json.loads((work / "told.json").read_text(encoding="utf-8"))
    return Made(title=title, path=output, seconds=seconds, **told)


def _feeds(model: Path, data: SampleSet) -> list[Feed]:
    contract = read_contract(model)
    assert contract is not None
    return [
        Feed(
            stack=data.files[entry.tensor.name],
            shape=tuple(size or 1 for size in entry.tensor.shape),
            permutation=tuple(range(len(entry.tensor.shape))),
        )
        for entry in contract.inputs
    ]


def _in_process(row: str, request: dict[str, Any]) -> None:
    """Make one file; this runs in a process of its own."""
    feeds = [
        Feed(stack=Path(stack), shape=tuple(shape), permutation=tuple(permutation))
        for stack, shape, permutation in request["feeds"]
    ]
    model, output, work = (Path(request[key]) for key in ("model", "output", "work"))
    passes: list[dict[str, Any]] = []
    match row:
        case "stock":
            _by_litert_quantizer(model, output, feeds)
        case "tensorflow":
            _by_tensorflow(model, output, feeds)
        case "none" | "fast" | "balanced":
            passes = _by_edgekit(model, output, feeds, work, row)
        case _:
            raise SystemExit(f"no row {row}")
    told = {"peak_gb": _peak_gb(), "passes": passes}
    (work / "told.json").write_text(json.dumps(told), encoding="utf-8")


def _by_litert_quantizer(model: Path, output: Path, feeds: Sequence[Feed]) -> None:
    from ai_edge_litert.interpreter import Interpreter
    from litert_quantizer import quantizer, recipe

    engine = quantizer.Quantizer(str(model))
    engine.load_quantization_recipe(recipe.static_wi8_ai8())
    name, signature = next(iter(Interpreter(str(model)).get_signature_list().items()))
    runs = [dict(zip(signature["inputs"], values, strict=True)) for values in samples(feeds)]
    result = engine.quantize(engine.calibrate({name: runs}))
    output.write_bytes(result.quantized_model)


def _by_edgekit(
    model: Path, output: Path, feeds: Sequence[Feed], work: Path, effort: Effort
) -> list[dict[str, Any]]:
    outcome = quantize(
        model,
        {"int8": output},
        feeds=feeds,
        work=work,
        effort=effort,
        progress=_Silent().update,
    )
    if outcome.failures:
        raise SystemExit(str(outcome.failures))
    return [vars(result) for result in outcome.passes]


def _by_tensorflow(model: Path, output: Path, feeds: Sequence[Feed]) -> None:
    import tensorflow as tf

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


def _open(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def _outputs(path: Path, feeds: Sequence[Feed]) -> np.ndarray[Any, np.dtype[Any]]:
    """The real values of the first output, (samples, values)."""

    def rows() -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
        for values in samples(feeds):
            for detail, value in zip(inputs, values, strict=True):
                interpreter.set_tensor(detail["index"], _stored(value, detail))
            interpreter.invoke()
            stored = interpreter.get_tensor(output["index"]).reshape(-1)
            scale, zero = output["quantization"]
            yield (stored.astype(np.float64) - zero) * scale if scale else stored

    interpreter = _open(path, threads=2)
    inputs, output = interpreter.get_input_details(), interpreter.get_output_details()[0]
    return np.stack(list(rows()))


def _stored(value: np.ndarray[Any, np.dtype[Any]], detail: dict[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        value = np.clip(np.rint(value / scale) + zero, limits.min, limits.max)
    return value.astype(detail["dtype"])


def _latencies(paths: Sequence[Path]) -> list[float]:
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


def _table(made: Sequence[Made], latencies: Sequence[float], model: Path, data: Dataset) -> Table:
    table = Table("int8 file by", title=f"{model.stem}: int8 against the float file")
    for heading in ("same top-1", "SQNR dB", "p50 ms", "seconds", "peak GB"):
        table.add_column(heading, justify="right")
    outputs = partial(_outputs, feeds=_feeds(model, data.parity))
    wanted = outputs(model)
    for one, latency in zip(made, latencies, strict=True):
        if one.path == model:
            table.add_row(one.title, "", "", f"{latency:.2f}", "", "")
            continue
        given = outputs(one.path)
        agreement = np.mean(given.argmax(axis=1) == wanted.argmax(axis=1))
        noise = np.sum(np.square(wanted - given)) + 1e-30
        sqnr = 10 * np.log10(np.sum(np.square(wanted, dtype=np.float64)) / noise)
        cost = f"{latency:.2f}", f"{one.seconds:.1f}", f"{one.peak_gb:.2f}"
        table.add_row(one.title, f"{agreement:.1%}", f"{sqnr:.2f}", *cost)
    return table


def _passes(one: Made) -> Table:
    table = Table("pass", "did", "kept", title=f"{one.title}, on held-out calibration samples")
    for heading in ("int8 dB", "seconds"):
        table.add_column(heading, justify="right")
    for result in one.passes:
        value = "" if result["int8_db"] is None else f"{result['int8_db']:.2f}"
        kept = "yes" if result["kept"] else "no"
        table.add_row(result["name"], result["did"], kept, value, f"{result['seconds']:.1f}")
    return table


if __name__ == "__main__":
    main()
