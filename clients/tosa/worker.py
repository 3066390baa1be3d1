"""TOSA: a `.tflite` legalised by Arm's converter, serialised, and run by TOSA's reference model."""

import re
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import tosa_converter_for_tflite as converter
import tosa_reference_model

from edgekit_worker import WorkerError, answer_samples

PASSES = ["--tosa-convert-integer-type-to-signless", "--tosa-serialize"]
loaded = None


def load(request, progress):
    """Convert, and serialise."""
    global loaded
    folder = Path(request["folder"])
    mlir, graph = folder / "graph.mlirbc", folder / "graph.tosa"
    try:
        converter.tflite_flatbuffer_to_tosa_mlir(request["artifact"], str(mlir))
    except (RuntimeError, ValueError) as error:
        raise WorkerError(str(error)) from error
    program = Path(sysconfig.get_path("purelib")) / "bin" / "tosa-opt"
    words = [*PASSES, f"--tosa-flatbuffer-filename={graph}", str(mlir), "-o", str(folder / "out")]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode or not graph.is_file():
        if left := unconverted(request["artifact"], folder / "graph.mlir"):
            raise WorkerError(f"The converter has no TOSA for {', '.join(left)}.")
        raise WorkerError(f"tosa-opt: {first_line(done.stderr)}")
    loaded = graph.read_bytes()
    return {}


def run(request, progress):
    """The reference model has no unsigned bytes: the same bits go in and come out."""
    wanted = [np.dtype(tensor["dtype"]) for tensor in request["outputs"]]

    def once(values):
        signed = [value.view(np.int8) if value.dtype == np.uint8 else value for value in values]
        outputs, status = tosa_reference_model.run(loaded, signed)
        if status != tosa_reference_model.GraphStatus.TOSA_VALID:
            raise WorkerError(f"The reference model ended with {status.name}.")
        return [
            output.view(dtype) if dtype == np.uint8 else output
            for output, dtype in zip(outputs, wanted, strict=True)
        ]

    try:
        return answer_samples(once, request, progress)
    except (ValueError, RuntimeError) as error:
        raise WorkerError(str(error)) from error


def unconverted(artifact, text):
    """TFLite's operators that are in the converted graph still."""
    converter.tflite_flatbuffer_to_tosa_mlir(
        artifact, str(text), converter.TosaConverterOutputFormat.Text
    )
    names = re.findall(r'= "?tfl\.(\w+)', text.read_text(encoding="utf-8"))
    return sorted({name.upper() for name in names} - {"PSEUDO_QCONST", "NO_VALUE"})


def first_line(text):
    """What it said first."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "it did not say why"
