"""PyTorch: load a model, describe it, run it as the reference, export it.

Verbs: ``describe``, ``reference``, ``convert``. The loaded model is kept between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_export import export_onnx, save_exported_program
from torch_loading import load_model

from edgekit_worker import WorkerError

_model: torch.nn.Module | None = None
_program: torch.export.ExportedProgram | None = None


def describe(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Load the model; name its inputs and, where the shapes are known, its outputs.

    An ExportedProgram tells its inputs. Otherwise ``request["inputs"]`` (what the user stated:
    name, shape, dtype) is taken, and the model is run once to learn the outputs.
    """
    global _model, _program
    progress(0.1, "loading the model")
    _model, _program = load_model(request["source"])
    inputs = _program_inputs(_program) if _program else _stated_inputs(request["inputs"])
    progress(0.6, "running it once")
    outputs = _run(_example(inputs))
    return {
        "inputs": inputs,
        "outputs": [
            {"name": name, "shape": list(value.shape), "dtype": _dtype_name(value.dtype)}
            for name, value in outputs.items()
        ],
    }


def reference(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Run the model on stacked inputs, one sample at a time as an app would.

    ``request["inputs"]`` names `.npy` files of shape (N, …); the outputs are written the same way
    into ``request["outputs_folder"]``.
    """
    specs = request["specs"]
    stacks = {
        spec["name"]: np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs
    }
    count = len(next(iter(stacks.values())))
    kept: dict[str, list[np.ndarray]] = {}
    for index in range(count):
        sample = tuple(_sample(stacks[spec["name"]], spec["shape"], index) for spec in specs)
        for name, value in _run(sample).items():
            kept.setdefault(name, []).append(_to_numpy(value))
        progress((index + 1) / count, f"{index + 1} of {count} samples")
    outputs = []
    for number, (name, values) in enumerate(kept.items()):
        path = Path(request["outputs_folder"]) / f"output_{number}.npy"
        stacked = np.concatenate(values) if values[0].shape[:1] == (1,) else np.stack(values)
        np.save(path, stacked)
        shape = list(values[0].shape)
        outputs.append(
            {"name": name, "shape": shape, "dtype": str(stacked.dtype), "path": str(path)}
        )
    return {"outputs": outputs}


def convert(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Export the loaded model to ``onnx`` or ``exported_program``."""
    assert _model is not None
    example = _example(request["inputs"])
    names = [spec["name"] for spec in request["inputs"]]
    output_names = [spec["name"] for spec in request["outputs"]]
    progress(0.1, f"exporting to {request['to']}")
    if request["to"] == "onnx":
        options = export_onnx(
            _program or _model, example, names, output_names, Path(request["output"])
        )
    else:
        options = save_exported_program(_program or _model, example, Path(request["output"]))
    return {
        "artifact": request["output"],
        "inputs": request["inputs"],
        "outputs": request["outputs"],
        "options": options,
    }


def _run(inputs: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
    assert _model is not None
    try:
        with torch.inference_mode():
            return flatten_outputs(_model(*inputs))
    except WorkerError:
        raise
    except Exception as error:
        shapes = ", ".join("x".join(map(str, value.shape)) or "scalar" for value in inputs)
        raise WorkerError(
            f"The model does not run on inputs of shape {shapes}: "
            f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}",
            cure="Check --input: its shape, type and layout, and the number and order of inputs.",
            kind="model",
        ) from error


def flatten_outputs(value: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors of a nested output by name, in the order in which exporters flatten them."""
    if isinstance(value, torch.Tensor):
        return {prefix or "output": value}
    if isinstance(value, dict) or hasattr(value, "items"):
        parts = [(str(key), part) for key, part in value.items()]
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None)
        parts = list(zip(fields or [f"output_{i}" for i in range(len(value))], value, strict=True))
    elif value is None:
        return {}
    else:
        raise WorkerError(
            f"The model returns a value of type {type(value).__name__}, which is no tensor.",
            cure="Wrap the model so that forward returns tensors, or tuples or dicts of them.",
            kind="model",
        )
    result: dict[str, torch.Tensor] = {}
    for name, part in parts:
        result.update(flatten_outputs(part, f"{prefix}_{name}" if prefix else name))
    return result


def _program_inputs(program: torch.export.ExportedProgram) -> list[dict[str, Any]]:
    wanted = set(program.graph_signature.user_inputs)
    found = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            value = node.meta["val"]
            shape = [size if isinstance(size, int) else None for size in value.shape]
            found.append({"name": node.name, "shape": shape, "dtype": _dtype_name(value.dtype)})
    return found


def _stated_inputs(stated: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not stated:
        raise WorkerError(
            "A PyTorch model does not tell the shape of its inputs.",
            cure="Add for example --input image:1x3x224x224 (or [inputs.image] in edgekit.toml).",
            kind="usage",
        )
    if any(size is None for spec in stated for size in spec["shape"]):
        raise WorkerError(
            "A PyTorch model needs every dimension of its inputs.",
            cure="Replace each ? in --input by a number.",
            kind="usage",
        )
    return stated


def _example(specs: list[dict[str, Any]]) -> tuple[torch.Tensor, ...]:
    """Inputs for tracing and for learning the output shapes; never for judging anything."""
    generator = torch.Generator().manual_seed(0)
    example = []
    for spec in specs:
        dtype = getattr(torch, spec["dtype"])
        shape = [size or 1 for size in spec["shape"]]
        value = (
            torch.rand(shape, generator=generator)
            if dtype.is_floating_point
            else torch.zeros(shape)
        )
        example.append(value.to(dtype))
    return tuple(example)


def _sample(stack: np.ndarray, shape: list[int], index: int) -> torch.Tensor:
    value = stack[index : index + 1] if shape[:1] == [1] else stack[index]
    return torch.from_numpy(np.array(value).reshape(shape))


def _to_numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy().copy()


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
