"""PyTorch's ExportedProgram to float TFLite with litert-torch: no ONNX, and no user code.

One verb, ``convert``. The file keeps PyTorch's axes (NCHW) and the order of the model's inputs and
outputs; only the tensors' names are litert-torch's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before the imports: this environment runs on the CPU, and litert-torch must not start a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import litert_torch
import torch
from ai_edge_litert.interpreter import Interpreter

from edgekit_worker import WorkerError

Progress = Callable[..., None]
_SIGNATURE = "serving_default"
_OTHER_ROUTE = "Try another route: --route onnx2tf"


def convert(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Write ``request["output"]`` from the program in ``request["artifact"]`` (a .pt2 file).

    ``request["inputs"]`` are the model's inputs with their static shapes, in order.

    Returns:
        ``artifact``: the path; ``inputs`` and ``outputs``: for each of the model's, in order, the
        ``name`` of its tensor in the file, its ``source`` name (inputs), ``shape``, ``dtype`` and
        the ``permutation`` from the model's axes to the file's; ``options``.
    """
    output = Path(request["output"])
    progress(0.05, "reading the program")
    program = _read(Path(request["artifact"]))
    arguments, keywords = _example(program, request["inputs"])
    progress(0.1, "converting with litert-torch")
    try:
        model = litert_torch.convert(
            program.module(), arguments, keywords or None, strict_export=False
        )
    except Exception as error:
        # Its messages are pages long; the first line names the operation, the log has the rest.
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise WorkerError(f"litert-torch failed: {first}", cure=_OTHER_ROUTE) from error
    progress(0.9, "writing the file")
    part = output.with_name(f"{output.stem}.part.tflite")
    model.export(str(part))
    result = _describe(part, request["inputs"])
    part.replace(output)
    return {"artifact": str(output), **result, "options": {"strict_export": False}}


def _read(path: Path) -> torch.export.ExportedProgram:
    try:
        return torch.export.load(path)
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        cause = f"{path} cannot be read as an ExportedProgram by torch {torch.__version__}: {first}"
        cure = f"Write it with torch.export.save of a torch no newer than {torch.__version__}."
        raise WorkerError(cause, cure=cure, kind="model") from error


def _example(
    program: torch.export.ExportedProgram, specs: list[dict[str, Any]]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments to trace with: the program's own, or zeros of the requested shapes."""
    if program.example_inputs is not None:
        return program.example_inputs
    zeros = (torch.zeros(spec["shape"], dtype=getattr(torch, spec["dtype"])) for spec in specs)
    return tuple(zeros), {}


def _describe(path: Path, specs: list[dict[str, Any]]) -> dict[str, Any]:
    """Match the tensors of the file to the model's inputs, and list its outputs."""
    interpreter = Interpreter(model_path=str(path))
    by_key = interpreter.get_signature_runner(_SIGNATURE).get_input_details()
    if len(by_key) != len(specs):
        cause = f"The file has {len(by_key)} inputs, the model has {len(specs)}."
        raise WorkerError(cause, cure=_OTHER_ROUTE)
    # litert-torch numbers positional inputs args_0, args_1 …; others keep their keyword.
    details = [
        by_key.get(f"args_{index}") or by_key[spec["name"]] for index, spec in enumerate(specs)
    ]
    return {
        "inputs": [
            {**_tensor(detail), "source": spec["name"], "layout": spec.get("layout")}
            for detail, spec in zip(details, specs, strict=True)
        ],
        "outputs": [_tensor(detail) for detail in interpreter.get_output_details()],
    }


def _tensor(detail: dict[str, Any]) -> dict[str, Any]:
    shape = [int(dimension) for dimension in detail["shape"]]
    return {
        "name": detail["name"],
        "shape": shape,
        "dtype": detail["dtype"].__name__,
        "layout": None,
        "permutation": list(range(len(shape))),
    }
