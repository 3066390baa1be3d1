"""A few operators of a graph as a model of their own, and how long such models take."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from edgekit.quantize.observe import open_interpreter
from edgekit.quantize.twins import refusals
from edgekit.tflite.model import Model
from edgekit.tflite.surgery import drop_unused_tensors

_WARMUP, _LEAST_ROUNDS, _MOST_ROUNDS = 3, 8, 60
_SECONDS = 0.06
"""So long each file is timed, if it takes its least rounds in that."""


def excerpt(model: Model, members: Collection[str]) -> Model:
    """A model of those operators alone, named by their first outputs.

    What they read from others are its inputs, what others read from them its outputs.
    """
    part = model.copy()
    graph = part.main
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
    part.raw.signatureDefs = []
    drop_unused_tensors(part)
    return part


def fastest(files: Sequence[bytes], *, rounds: int | None = None) -> list[float]:
    """The least seconds of an inference of each file with one thread, all in turn.

    Other work on the machine only ever makes one slower, so the least is the steadiest figure.

    Raises:
        ModelError: the runtime cannot run one of them.

    Args:
        files: their bytes.
        rounds: of each; by default as many as fit into a short time.
    """
    interpreters = [_open(data) for data in files]
    best = [float("inf")] * len(files)
    spent = 0.0
    for number in range(_WARMUP + (rounds or _MOST_ROUNDS)):
        for place, interpreter in enumerate(interpreters):
            started = time.perf_counter()
            interpreter.invoke()
            passed = time.perf_counter() - started
            spent += passed
            if number >= _WARMUP:
                best[place] = min(best[place], passed)
        enough = spent > _SECONDS * len(files) and number >= _WARMUP + _LEAST_ROUNDS
        if rounds is None and enough:
            break
    return best


def _open(data: bytes) -> Any:
    import numpy as np

    with refusals():
        interpreter = open_interpreter(data, threads=1)
    for detail in interpreter.get_input_details():
        # Ordinary numbers: with what memory happens to hold, float kernels can be slow.
        fill = 0.5 if np.dtype(detail["dtype"]).kind == "f" else 0
        interpreter.set_tensor(detail["index"], np.full(detail["shape"], fill, detail["dtype"]))
    return interpreter
