"""How good int8 files are: other quantizers beside edgekit at each effort, on the same data.

    python benchmarks/int8_quality.py [--model FILE.tflite] [--calibration DIR] [--evaluation DIR]

Every row is made in a process of its own: the seconds are those of the whole process, imports
included, and the memory is its peak. The files are compared with the float `.tflite` on the
evaluation pictures, and then timed in turn, with one thread, so that noise hits all alike.

Without ``--evaluation`` the calibration folder's own split is used, by its manifest if it has one.
Without ``--model`` EfficientNet-Lite0 is converted first, and exported as ONNX for NNCF.
TFLiteConverter starts from a SavedModel that is made from the float file, where TensorFlow is here.
The last rows take raw pixels, as `edgekit convert` makes int8 files by default; *SQNR* is centred.
NNCF gets an environment of its own, made by uv; where that fails its row is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from int8_rows import MIXED, ROWS, Array, Made, latencies, make, outputs, sqnr_db
from rich.console import Console
from rich.table import Table

from edgekit.calibration.load import load
from edgekit.calibration.samples import Dataset, SampleSet
from edgekit.closeness import centred_db, channel_axis
from edgekit.contract import image_axes
from edgekit.pipeline.raw_pixels import Wanted, own_order, write_folded
from edgekit.quantize.observe import SampleFeed, samples
from edgekit.raw_pixels.normalization import Normalization
from edgekit.tflite.metadata import read_contract

REPOSITORY = Path(__file__).resolve().parents[1]
MODEL = f"{REPOSITORY}/examples/efficientnet_lite0.py:build"
CONFIG = str(REPOSITORY / "examples" / "efficientnet_lite0.toml")
NNCF_HOME = Path.home() / ".cache" / "edgekit-benchmarks" / "nncf"
NNCF = "nncf==3.4.0"
RAW = {
    "balanced": "edgekit, effort balanced, raw pixels",
    MIXED: "edgekit, int8-mixed, raw pixels, float outputs",
}
EXPORT = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from efficientnet_lite0 import build
net = build().eval()
example = (torch.zeros(1, 3, 224, 224),)
torch.onnx.export(net, example, sys.argv[2], dynamo=True, external_data=False)
"""


def main() -> None:
    """Make all files, measure, print."""
    options = _options()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = options.model or _convert_demo(folder)
        onnx = options.onnx or (None if options.model else _export_demo(folder))
        data = _load(model, options, folder)
        feeds = _feeds(model, data.calibration)
        rows = {row: (title, model) for row, title in ROWS.items() if row in options.rows}
        saved = options.saved_model or _twin(model, folder, console)
        if saved is not None:
            rows["tensorflow"] = "TFLiteConverter", saved
        made = [Made(title="float", path=model)]
        for row, (title, source) in rows.items():
            console.print(f"making: {title}", style="dim")
            made.append(make(row, title, source, feeds, folder))
        raw, pixels = _on_raw_pixels(model, data, folder)
        given = {one.path: data for one in made}
        for row, title in RAW.items():
            console.print(f"making: {title}", style="dim")
            source = _feeds(model, pixels.calibration)
            made.append(make(f"raw-{row}", title, raw, source, folder))
            given[made[-1].path] = pixels
        table = _table(made, model, given)
        if onnx is not None:
            _nncf(table, onnx, model, data, folder, console)
        else:
            console.print("left out: NNCF, which takes no .tflite (--onnx)")
        console.print(table)
        for one in made:
            if one.passes:
                console.print(_passes(one))
    console.print(
        f"{data.calibration.count} samples for calibration, {data.parity.count} for evaluation"
    )


def _on_raw_pixels(model: Path, data: Dataset, folder: Path) -> tuple[Path, Dataset]:
    """The model with its normalisation inside, and the pixels that its samples were made of."""
    contract = read_contract(model)
    assert contract is not None
    wanted: Wanted = {}
    for entry in contract.inputs:
        axes = image_axes(entry.tensor)
        if entry.preprocess is not None and axes is not None:
            channels = entry.tensor.shape[axes[2]] or 0
            wanted[entry.tensor.name] = Normalization.of(entry.preprocess, channels), axes[2]
    raw = folder / "raw.tflite"
    write_folded(model, own_order(contract), wanted, raw)

    def turned(part: SampleSet, role: str) -> SampleSet:
        files = dict(part.files)
        for name, (normalization, axis) in wanted.items():
            files[name] = folder / f"{role}-{list(files).index(name)}-pixels.npy"
            np.save(files[name], normalization.pixels(np.load(part.files[name]), axis))
        return replace(part, files=files)

    calibration, parity = turned(data.calibration, "calibration"), turned(data.parity, "parity")
    return raw, replace(data, calibration=calibration, parity=parity)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a float .tflite with edgekit's contract inside")
    parser.add_argument("--calibration", type=Path, default=REPOSITORY / "calibration_data")
    parser.add_argument("--evaluation", type=Path)
    parser.add_argument("--samples", type=int, default=128, help="for calibration")
    parser.add_argument("--evaluation-samples", type=int, default=256)
    parser.add_argument(
        "--saved-model",
        type=Path,
        help="the same model for TFLiteConverter, with the same inputs: a SavedModel or .keras",
    )
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--onnx", type=Path, help="the same model for NNCF, channels first")
    return parser.parse_args()


def _export_demo(folder: Path) -> Path:
    output = folder / "demo.onnx"
    command = [sys.executable, "-c", EXPORT, str(REPOSITORY / "examples"), str(output)]
    subprocess.run(command, check=True, capture_output=True)
    return output


def _twin(model: Path, folder: Path, console: Console) -> Path | None:
    """The model as a SavedModel for TFLiteConverter; where that fails None, and why is printed."""
    output = folder / "saved_model"
    program = Path(__file__).with_name("tensorflow_twin.py")
    command = [sys.executable, str(program), str(model), str(output)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        why = run.stderr.strip().rpartition("\n")[2]
        console.print(f"left out: TFLiteConverter: {why} (--saved-model)")
        return None
    return output


def _nncf(
    table: Table, onnx: Path, model: Path, data: Dataset, folder: Path, console: Console
) -> None:
    """Add NNCF's row; why there is none is printed. It has no time beside files of TFLite."""
    python = _nncf_python()
    if python is None:
        console.print("left out: NNCF, which could not be installed")
        return
    console.print("making: NNCF", style="dim")
    stacks = [
        _channels_first(_feeds(model, part), folder / f"{name}.npy")
        for name, part in (("calibration", data.calibration), ("evaluation", data.parity))
    ]
    results = folder / "nncf.npy"
    program = Path(__file__).with_name("nncf_row.py")
    started = time.perf_counter()
    run = subprocess.run(
        [str(path) for path in (python, program, onnx, *stacks, results)],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if run.returncode:
        console.print(f"left out: NNCF, which failed:\n{run.stderr[-1000:]}")
        return
    wanted = outputs(model, _feeds(model, data.parity))[0]
    close = _closeness(wanted, np.load(results))
    table.add_row("NNCF, ONNX, full bias correction", *close, "", f"{seconds:.1f}", "")


def _nncf_python() -> Path | None:
    """The interpreter of NNCF's environment, made where there is none; None where that fails."""
    python = NNCF_HOME / "bin" / "python"
    done = NNCF_HOME / "complete"
    if not done.exists():
        uv = [sys.executable, "-m", "uv"]
        for command in (
            [*uv, "venv", "--clear", "--python", sys.executable, str(NNCF_HOME)],
            [*uv, "pip", "install", "--python", str(python), NNCF, "onnx", "onnxruntime"],
        ):
            if subprocess.run(command, check=False, capture_output=True).returncode:
                return None
        done.touch()
    return python


def _channels_first(feeds: Sequence[SampleFeed], path: Path) -> Path:
    """The samples of the one input as ONNX models read them, in a `.npy`."""
    stack = np.stack([values[0][0] for values in samples(feeds)])
    np.save(path, np.ascontiguousarray(np.moveaxis(stack, -1, 1)))
    return path


def _closeness(wanted: Array, given: Array) -> tuple[str, str, str]:
    """Top-1 agreement, centred and raw SQNR of the first output, as they are shown."""
    agreement = np.mean(given.argmax(axis=1) == wanted.argmax(axis=1))
    centred = centred_db(wanted, given, channel_axis(wanted.shape[1:]))
    return f"{agreement:.1%}", f"{centred:.2f}", f"{sqnr_db(wanted, given):.2f}"


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


def _feeds(model: Path, data: SampleSet) -> list[SampleFeed]:
    contract = read_contract(model)
    assert contract is not None
    return [
        SampleFeed(
            stack=data.files[entry.tensor.name],
            shape=tuple(size or 1 for size in entry.tensor.shape),
            permutation=tuple(range(len(entry.tensor.shape))),
        )
        for entry in contract.inputs
    ]


def _table(made: Sequence[Made], model: Path, given: Mapping[Path, Dataset]) -> Table:
    """A row a file; each is given the samples that it takes."""
    table = Table("int8 file by", title=f"{model.stem}: int8 against the float file")
    for heading in ("same top-1", "SQNR dB", "raw dB", "p50 ms", "seconds", "peak GB"):
        table.add_column(heading, justify="right")
    wanted = outputs(model, _feeds(model, given[model].parity))[0]
    for one, latency in zip(made, latencies([one.path for one in made]), strict=True):
        if one.path == model:
            table.add_row(one.title, "", "", "", f"{latency:.2f}", "", "")
            continue
        cost = f"{latency:.2f}", f"{one.seconds:.1f}", f"{one.peak_gb:.2f}"
        said = outputs(one.path, _feeds(model, given[one.path].parity))[0]
        table.add_row(one.title, *_closeness(wanted, said), *cost)
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
