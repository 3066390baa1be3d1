"""PyTorch: load a model, describe it, run it as the reference, export it.

Verbs: ``describe``, ``reference``, ``intermediates``, ``benchmark``, ``convert``. The loaded model
is kept between them.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch_device import choose_device, device_name, move, state_digest, timed
from torch_export import export_onnx, save_exported_program
from torch_intermediates import listening
from torch_loading import load_model
from torch_quantized import ProgramScales, float_form, quantized_operators

sys.path.append(str(Path(__file__).resolve().parents[1] / "common"))
from named_source import inputs_of_notes
from quantized_source import Distance, ScalesAnswer, it_is_quantized

from edgekit_worker import Stacks, WorkerError, timed_runs

_model: torch.nn.Module | None = None
_program: torch.export.ExportedProgram | None = None
_quantized: torch.nn.Module | None = None
_stored = ProgramScales()
_device = torch.device("cpu")
_start_ms = {"load_ms": 0.0, "first_ms": 0.0}


def describe(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Load the model; name its inputs and, where the shapes are known, its outputs.

    An ExportedProgram tells its inputs. Otherwise ``request["inputs"]`` (what the user stated:
    name, shape, dtype) is taken, and the model is run once to learn the outputs.
    ``request["device"]`` is ``auto``, ``cuda`` or ``cpu`` (where it is not stated);
    ``request["digest"]`` asks for the digest of the weights.
    """
    global _model, _program, _device
    _device = choose_device(request.get("device", "cpu"))
    progress(0.1, "loading the model")
    started = time.perf_counter()
    loaded, told = load_model(request["source"])
    _model, _program = move(loaded, _device)
    _start_ms["load_ms"] = 1e3 * (time.perf_counter() - started)
    inputs = (
        _program_inputs(_program)
        if _program
        else _stated_inputs(request["inputs"] or inputs_of_notes(told))
    )
    progress(0.6, "running it once")
    example = _example(inputs)
    notes = _make_float(example) if request["source"].get("as_float") else []
    outputs, _start_ms["first_ms"] = timed(lambda: _run(example), _device)
    digest = {"digest": state_digest(_model)} if request.get("digest") else {}
    return {
        **digest,
        "preset_notes": told,
        "notes": notes,
        "facts": _facts(_model, _program),
        "device": device_name(_device),
        "inputs": inputs,
        "outputs": [
            {"name": name, "shape": list(value.shape), "dtype": _dtype_name(value.dtype)}
            for name, value in outputs.items()
        ],
    }


def _facts(model: torch.nn.Module, program: torch.export.ExportedProgram | None) -> dict[str, Any]:
    """Operators of a program, else the kinds of the innermost modules."""
    if program is not None:
        calls = (n for n in program.graph_module.graph.nodes if n.op == "call_function")
        kinds = Counter(str(node.target).removesuffix(".default") for node in calls)
    else:
        inner = (module for module in model.modules() if not list(module.children()))
        kinds = Counter(type(module).__name__ for module in inner)
    return {
        "format": f"torch {torch.__version__}",
        "operators": dict(kinds.most_common()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _make_float(example: tuple[torch.Tensor, ...]) -> list[str]:
    """Take a quantized program's float form from here on; what the user has to know of that."""
    global _model, _program, _quantized, _stored
    operators = quantized_operators(_program) if _program is not None else {}
    if _program is None or not operators:
        return []
    _quantized = _model
    _program, _stored = float_form(_program, example)
    _model = _program.module()
    return [it_is_quantized(operators)]


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
    distance = Distance()
    for index in range(count):
        sample = tuple(_sample(stacks[spec["name"]], spec["shape"], index) for spec in specs)
        values = {name: _to_numpy(value) for name, value in _run(sample).items()}
        for name, value in values.items():
            kept.setdefault(name, []).append(value)
        if _quantized is not None:
            given = flatten_outputs(_quantized(*sample))
            distance.add(values.values(), map(_to_numpy, given.values()))
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
    notes = distance.notes()
    return {"outputs": outputs, "notes": notes, "quantized": bool(notes)}


def scales(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """What the described model was quantized with, and what it says itself; see `ScalesAnswer`.

    The values of the float form and the outputs of the model are of the samples in ``inputs``.
    """
    assert _quantized is not None
    specs = request["specs"]
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    kept = ScalesAnswer(Path(request["outputs_folder"]))
    count = len(stacks[0])
    for index in range(count):
        sample = tuple(
            _sample(stack, spec["shape"], index) for stack, spec in zip(stacks, specs, strict=True)
        )
        for name, value in _stored.values(sample) if index < ScalesAnswer.SAMPLES else ():
            how = _stored.activations[name]
            kept.activation(name, value, how.scale, how.zero, (how.low, how.high))
        given = flatten_outputs(_quantized(*sample))
        kept.outputs([_to_numpy(value) for value in given.values()])
        progress((index + 1) / count, f"{index + 1} of {count} samples")
    for values, channels in _stored.weights:
        kept.weight(values, channels)
    return kept.finish()


def intermediates(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Run stacked inputs as `reference` does, and write what each module returns.

    Returns:
        ``points``: name (the module's path), operator (its class), path and shape of each, the
        inputs first and the model's outputs last; ``samples``.
    """
    assert _model is not None
    specs = request["specs"]
    stacks = [np.load(request["inputs"][spec["name"]], mmap_mode="r") for spec in specs]
    kept = Stacks(Path(request["outputs_folder"]), len(stacks[0]))

    def told(path: str, kind: str, value: torch.Tensor) -> None:
        kept.keep(path, kind, _to_numpy(value))  # a copy: what follows may work in place

    with listening(_model, told) as next_sample:
        for index in range(len(stacks[0])):
            pairs = zip(stacks, specs, strict=True)
            sample = tuple(_sample(stack, spec["shape"], index) for stack, spec in pairs)
            for spec, value in zip(specs, sample, strict=True):
                kept.keep(spec["name"], "INPUT", _to_numpy(value))
            for name, value in _run(sample).items():
                kept.keep(name, "OUTPUT", _to_numpy(value))
            next_sample()
            kept.next_sample()
            progress((index + 1) / len(stacks[0]), f"{index + 1} of {len(stacks[0])} samples")
    return kept.finish()


def benchmark(request: dict[str, Any], progress: Any) -> dict[str, Any]:
    """Time single inferences of the loaded model on the first sample of ``request["inputs"]``.

    On a GPU the sample lies in its memory already: copies are not part of the time.

    Returns:
        ``load_ms`` and ``first_ms`` as `describe` had them, ``samples_ms``, ``threads``.
    """
    specs = request["specs"]
    sample = tuple(
        _sample(np.load(request["inputs"][spec["name"]], mmap_mode="r"), spec["shape"], 0)
        for spec in specs
    )
    samples = timed_runs(lambda: timed(lambda: _run(sample), _device)[1], request, progress)
    return {**_start_ms, "samples_ms": samples, "threads": torch.get_num_threads()}


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
            f"The model returns a value of type {type(value).__name__}, which is not a tensor.",
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
        example.append(value.to(_device, dtype))
    return tuple(example)


def _sample(stack: np.ndarray, shape: list[int], index: int) -> torch.Tensor:
    value = stack[index : index + 1] if shape[:1] == [1] else stack[index]
    return torch.from_numpy(np.array(value).reshape(shape)).to(_device)


def _to_numpy(value: torch.Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy().copy()


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
