"""Where the reference runs, and how long an inference takes there."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import torch

from edgekit_worker import WorkerError

Loaded = tuple[torch.nn.Module, "torch.export.ExportedProgram | None"]


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or for ``auto`` the GPU where PyTorch sees one.

    Raises:
        WorkerError: ``cuda`` was asked for and PyTorch sees no GPU.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise WorkerError(
            f"PyTorch {torch.__version__} sees no CUDA device here.",
            cure="Run on a machine with an NVIDIA GPU and a CUDA build of PyTorch, or with "
            "--reference-device cpu.",
            kind="setup",
        )
    if name == "cpu" or not available:
        return torch.device("cpu")
    # The reference is float32: TF32 would round the inputs of every product to 10 bits.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda")


def move(loaded: Loaded, device: torch.device) -> Loaded:
    """The model on a device.

    Raises:
        WorkerError: it does not fit, or holds something that cannot be moved.
    """
    if device.type == "cpu":
        return loaded
    model, program = loaded
    try:
        if program is None:
            return model.to(device), None
        from torch.export.passes import move_to_device_pass

        moved = move_to_device_pass(program, device)
        return moved.module(), moved
    except Exception as error:
        raise WorkerError(
            f"The model cannot be moved to {device_name(device)}: {_first_line(error)}",
            cure="Run it with --reference-device cpu.",
            kind="model",
        ) from error


def device_name(device: torch.device) -> str:
    """In words: the GPU's name, or the CPU with its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def timed(call: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """What a call gives, and its milliseconds: on a GPU by CUDA's own events."""
    if device.type != "cuda":
        started = time.perf_counter()
        result = call()
        return result, 1e3 * (time.perf_counter() - started)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    result = call()
    end.record()
    end.synchronize()
    return result, start.elapsed_time(end)


def state_digest(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all parameters and buffers."""
    result = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, torch.Tensor):
            continue
        result.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        plain = value.detach().cpu().contiguous().reshape(-1)
        result.update(plain.view(torch.uint8).numpy().data)
    return result.hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
