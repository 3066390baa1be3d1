"""ONNX: describe a file and run it with ONNX Runtime.

Verbs: ``describe``, ``reference``, ``convert``. The session is kept between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx_layout import input_layout

from edgekit_worker import WorkerError

_session: onnxruntime.InferenceSession | None = None

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
    global _session
    path = Path(request["source"]["location"])
    if request["source"].get("weights"):
        raise WorkerError("--weights does not go with an ONNX file.", kind="usage")
    progress(0.1, "reading the model")
    try:
        onnx.checker.check_model(str(path))
        model = onnx.load(str(path), load_external_data=False)
        _session = _open(path)
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise WorkerError(
            f"{path} cannot be read as ONNX: {lines[0][:200] if lines else type(error).__name__}",
            cure="The file may be cut short, its external data may be missing from its folder, or "
            "it is of another kind.",
            kind="model",
        ) from error
    inputs = [_spec(value) for value in _session.get_inputs()]
    for spec in inputs:
        spec["layout"] = input_layout(model.graph, spec["name"])
    return {"inputs": inputs, "outputs": [_spec(value) for value in _session.get_outputs()]}


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
        feed = {
            spec["name"]: np.array(stack[index]).reshape(spec["shape"])
            for spec, stack in zip(specs, stacks, strict=True)
        }
        try:
            values = _session.run(None, feed)
        except Exception as error:
            raise WorkerError(
                f"ONNX Runtime cannot run the model: {str(error).strip().splitlines()[0][:300]}",
                cure="Check --input: its shape, type and layout.",
                kind="model",
            ) from error
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
    return {"outputs": outputs}


def _open(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Optimised graphs compute in another order; the reference is the model as written.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _spec(value: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) and size > 0 else None for size in value.shape]
    if value.type not in _DTYPES:
        raise WorkerError(
            f"{value.name} has the type {value.type}, which edgekit cannot feed.", kind="model"
        )
    return {"name": value.name, "shape": shape, "dtype": _DTYPES[value.type], "layout": None}
