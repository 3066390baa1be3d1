"""What a conversion costs: time and memory, warm and cold, beside the tools that it stands on.

    python benchmarks/convert.py [--calibration DIR] [--parity DIR] [--cold] [--runs 3]

EfficientNet-Lite0 with its ImageNet weights → fp32 + fp16 + int8 with all parity checks. Wall-clock
seconds of whole processes, the median of the runs; memory is that of the largest single process.
The peers run in edgekit's own environments, on the same model, and check nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from edgekit.toolchain.converters import discover
from edgekit.toolchain.environments import ensure

REPOSITORY = Path(__file__).resolve().parents[1]
EDGEKIT = [sys.executable, "-m", "edgekit"]
MODEL = f"{REPOSITORY}/examples/efficientnet_lite0.py:build"
CONFIG = str(REPOSITORY / "examples" / "efficientnet_lite0.toml")

LITERT_TORCH = """
import sys, torch, litert_torch
program = torch.export.load(sys.argv[1])
litert_torch.convert(program.module(), program.example_inputs[0]).export(sys.argv[2])
"""
EXPORT = """
import sys, numpy as np, torch
sys.path.insert(0, sys.argv[1])
from efficientnet_lite0 import build
model, example = build().eval(), (torch.rand(1, 3, 224, 224),)
torch.onnx.export(model, example, "m.onnx", dynamo=True, external_data=False)
torch.export.save(torch.export.export(model, example), "m.pt2")
images = np.random.default_rng(0).normal(size=(128, 3, 224, 224))
np.save("images.npy", images.astype(np.float32))
"""
QUANTIZER = """
import sys, numpy as np
from litert_quantizer import quantizer, recipe
engine = quantizer.Quantizer(sys.argv[1])
engine.load_quantization_recipe(recipe.static_wi8_ai8())
images = np.load(sys.argv[2])  # NCHW, as litert-torch keeps it
from ai_edge_litert.interpreter import Interpreter
name, signature = next(iter(Interpreter(sys.argv[1]).get_signature_list().items()))
given = signature["inputs"][0]
data = {name: [{given: np.ascontiguousarray(image[None])} for image in images]}
engine.quantize(engine.calibrate(data)).export_model(sys.argv[3])
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calibration", type=Path, default=REPOSITORY / "calibration_data")
    parser.add_argument("--parity", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="also build onnx2tf's environment anew")
    options = parser.parse_args()
    table = Table("what", "seconds", "GB, largest process", "must be")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds, memory, steps = _edgekit(options, folder)
        table.add_row("edgekit convert, all checks", *_figures(seconds, memory), "≤ 35 s, ≤ 2 GB")
        for step, cost in steps.items():
            table.add_row(f"  {step}", f"{cost:.1f}", "", "")
        for title, peer in _peers(folder).items():
            table.add_row(title, *_figures(*_repeat(peer, options.runs)), "")
        if options.cold:
            table.add_row("cold onnx2tf environment", f"{_cold(folder):.1f}", "", "≤ 60 s")
    for arguments in (["--help"], ["convert", "--help"], ["inspect", "--help"]):
        seconds, _ = _repeat(lambda a=arguments: _run([*EDGEKIT, *a]), 10)  # type: ignore[misc]
        table.add_row(f"edgekit {' '.join(arguments)}", f"{seconds:.3f}", "", "≤ 0.150 s")
    Console().print(table)


def _edgekit(options: argparse.Namespace, folder: Path) -> tuple[float, float, dict[str, float]]:
    command = [*EDGEKIT, "convert", MODEL, "--config", CONFIG, "--force", "--json"]
    command += ["--calibration", str(options.calibration), "--output", str(folder / "out")]
    if options.parity:
        command += ["--parity", str(options.parity)]
    _run(command)  # warm: environments built, files in the page cache
    seconds, memory = _repeat(lambda: _run(command), options.runs)
    report = json.loads((folder / "out" / "edgekit-report.json").read_text(encoding="utf-8"))
    steps: dict[str, float] = {}
    for step in report["steps"]:
        steps[step["name"]] = steps.get(step["name"], 0.0) + step["seconds"]
        memory = max(memory, step["peak_memory_mb"] / 1e3)
    return seconds, memory, steps


def _peers(folder: Path) -> dict[str, Callable[[], float]]:
    """The back ends alone, as their users call them; each returns its peak memory in GB."""
    converters = discover()
    onnx2tf = ensure(converters["onnx2tf"]).python
    litert_torch = ensure(converters["litert_torch"]).python
    subprocess.run(
        [sys.executable, "-c", EXPORT, str(REPOSITORY / "examples")],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    onnx2tf_cli = [onnx2tf, "-m", "onnx2tf", "-i", str(folder / "m.onnx"), "-o", str(folder / "o")]
    tflite = str(folder / "litert.tflite")
    by_torch = [litert_torch, "-c", LITERT_TORCH, str(folder / "m.pt2"), tflite]
    stock = [sys.executable, "-c", QUANTIZER, tflite, str(folder / "images.npy")]
    stock.append(str(folder / "stock.tflite"))
    return {
        "onnx2tf alone, float, ONNX given": lambda: _run(onnx2tf_cli, Path(onnx2tf).parent),
        "litert-torch alone, float, .pt2 given": lambda: _run(by_torch),
        "litert-quantizer alone, int8, 128 images": lambda: _run(
            stock, clean=folder / "stock.tflite"
        ),
    }


def _cold(folder: Path) -> float:
    """Seconds to build onnx2tf's environment with nothing cached, downloads included."""
    environment = {**os.environ, "EDGEKIT_HOME": str(folder / "home")}
    environment["UV_CACHE_DIR"] = str(folder / "uv")
    started = time.perf_counter()
    command = [*EDGEKIT, "toolchain", "install", "onnx2tf"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def _run(command: Sequence[str], programs: Path | None = None, clean: Path | None = None) -> float:
    """Run a process to its end; its peak memory in GB (the largest process of its tree)."""
    if clean is not None:
        clean.unlink(missing_ok=True)
    path = f"{programs}{os.pathsep}" if programs else ""
    environment = {**os.environ, "PATH": path + os.environ["PATH"]}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 4):
        raise SystemExit(f"{' '.join(command)[:200]} ended with {process.returncode}")
    return usage.ru_maxrss / 1e6


def _repeat(call: Callable[[], float], runs: int) -> tuple[float, float]:
    """Median seconds and largest memory over the runs."""
    seconds, memory = [], 0.0
    for _ in range(runs):
        started = time.perf_counter()
        memory = max(memory, call())
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), memory


def _figures(seconds: float, memory: float) -> tuple[str, str]:
    return f"{seconds:.1f}", f"{memory:.2f}"


if __name__ == "__main__":
    main()
