"""A few operators of a graph as a model of their own, and how long such models take."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from edgekit.tflite.model import read, write
from edgekit.tflite.surgery import drop_unused_tensors

_WARMUP, _LEAST_ROUNDS, _MOST_ROUNDS = 3, 8, 60
_SECONDS = 0.06
"""So long each file is timed, if it takes its least rounds in that."""


def write_excerpt(model: Path, members: Collection[str], output: Path) -> Path:
    """Write a model of those operators alone, named by their first outputs.

    What they read from others are its inputs, what others read from them its outputs.
    """
    loaded = read(model)
    graph = loaded.main
    ends = set(graph.raw.outputs)
    mine = [op for op in graph.operators if op.outputs[0].name in members]
    made = {tensor.index for op in mine for tensor in op.outputs}
    reads = dict.fromkeys(
        tensor.index
        for op in mine
        for tensor in op.inputs
        if tensor is not None and not tensor.is_constant and tensor.index not in made
    )
    own = {id(op.raw) for op in mine}
    shown = [
        tensor.index
        for op in mine
        for tensor in op.outputs
        if tensor.index in ends or not all(id(r.raw) in own for r in graph.consumers(tensor))
    ]
    graph.remove([op for op in graph.operators if id(op.raw) not in own])
    graph.raw.inputs = list(reads)
    graph.raw.outputs = shown or [mine[-1].outputs[0].index]
    loaded.raw.signatureDefs = []
    drop_unused_tensors(loaded)
    write(loaded, output)
    return output


def fastest(paths: Sequence[Path], *, rounds: int | None = None) -> list[float]:
    """The least seconds of an inference of each file with one thread, all in turn.

    Other work on the machine only ever makes one slower, so the least is the steadiest figure.

    Args:
        paths: the files.
        rounds: of each; by default as many as fit into a short time.
    """
    interpreters = [_open(path) for path in paths]
    best = [float("inf")] * len(paths)
    spent = 0.0
    for number in range(_WARMUP + (rounds or _MOST_ROUNDS)):
        for place, interpreter in enumerate(interpreters):
            started = time.perf_counter()
            interpreter.invoke()
            passed = time.perf_counter() - started
            spent += passed
            if number >= _WARMUP:
                best[place] = min(best[place], passed)
        enough = spent > _SECONDS * len(paths) and number >= _WARMUP + _LEAST_ROUNDS
        if rounds is None and enough:
            break
    return best


def _open(path: Path) -> Any:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        # Ordinary numbers: with what memory happens to hold, float kernels can be slow.
        fill = 0.5 if np.dtype(detail["dtype"]).kind == "f" else 0
        interpreter.set_tensor(detail["index"], np.full(detail["shape"], fill, detail["dtype"]))
    return interpreter
