"""How long each pass over a graph takes, and how that grows with the graph.

    python benchmarks/passes.py [--lengths 500 1000 2000 4000] [--memory 300] [--large 50000]

A chain of so many operators (convolutions, arithmetic with constants, activations with and without
a kernel, axes turned to and fro, masks before a SOFTMAX) goes through everything that happens to a
graph: cleaned, simplified, quantized to int8, cleaned for delivery. Seconds are of the processor,
the least of three runs, so that other work on the machine counts little; *growth* is the exponent
between the two longest chains: 1 is linear, 2 the square.

``--memory`` quantizes a model of so many MB in a process of its own and prints its peak.
``--large`` reads, describes, cleans and simplifies a chain of so many operators.
"""

from __future__ import annotations

import argparse
import gc
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from rich.console import Console
from rich.table import Table

from edgekit.quantize.emit import quantized
from edgekit.quantize.engine import quantize
from edgekit.quantize.equalize import find_streams
from edgekit.quantize.integer_ops.masks import find_masks
from edgekit.quantize.integer_ops.rewrites import Simplify
from edgekit.quantize.layers import find_layers
from edgekit.quantize.observe import SampleFeed, keep_readable
from edgekit.quantize.slices import boundaries
from edgekit.tflite.cleanup import clean
from edgekit.tflite.graph import Tensor
from edgekit.tflite.model import Model, loaded, read, write
from edgekit.tflite.normalise import normalise
from edgekit.tflite.passes import GraphPass, PassResult, PassSequence
from edgekit.tflite.summary import summarize

CHANNELS, WIDTH = 4, 512
MUST = "< 0.2 s at 2,000"


class Chain:
    """A graph of one operator after the other."""

    def __init__(self, *shape: int) -> None:
        self.model = empty()
        self.graph = self.model.main
        self.rng = np.random.default_rng(0)
        self.last = self.graph.add_tensor("image", shape, "float32")
        self.graph.raw.inputs = [self.last.index]

    def constant(self, name: str, values: Any) -> Tensor:
        array = np.asarray(values)
        return self.graph.add_tensor(name, array.shape, str(array.dtype), array)

    def then(self, kind: str, *others: Tensor, shape: Any = None, options: Any = None) -> None:
        place = len(self.graph.raw.operators)
        made = self.graph.add_tensor(f"t{place}", shape or self.last.shape, "float32")
        self.graph.insert_operator(place, kind, [self.last, *others], [made], options=options)
        self.last = made

    def finished(self) -> Model:
        self.graph.raw.outputs = [self.last.index]
        return self.model


def empty() -> Model:
    """A file with nothing in it."""
    raw = schema.ModelT(
        version=3,
        description="benchmark",
        operatorCodes=[],
        subgraphs=[schema.SubGraphT(tensors=[], inputs=[], outputs=[], operators=[], name="main")],
        buffers=[schema.BufferT()],
        metadata=[],
        signatureDefs=[],
    )
    return Model(raw)


def chain(count: int) -> Model:
    """So many operators, of every kind that some pass looks for."""
    net, number = Chain(1, 2, 2, CHANNELS), 0
    while len(net.graph.raw.operators) < count:
        number += 1
        weights = net.rng.normal(0, 0.5, (CHANNELS, 1, 1, CHANNELS)).astype(np.float32)
        net.then(
            "CONV_2D",
            net.constant(f"w{number}", weights),
            net.constant(f"b{number}", net.rng.normal(0, 0.1, CHANNELS).astype(np.float32)),
            options=schema.Conv2DOptionsT(
                strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1
            ),
        )
        net.then("RELU6")
        net.then("ABS")
        net.then("SQUARE")
        half = net.constant(f"m{number}", np.array([0.5], np.float32))
        net.then("MUL", half, options=schema.MulOptionsT())
        mask = net.constant(f"a{number}", np.array([0, 0, 0, -1e9], np.float32))
        net.then("ADD", mask, options=schema.AddOptionsT())
        net.then("SOFTMAX", options=schema.SoftmaxOptionsT(beta=1.0))
        for turn in ((0, 3, 1, 2), (0, 2, 3, 1)):
            axes = net.constant(f"x{len(net.graph.raw.tensors)}", np.array(turn, np.int32))
            shape = tuple(net.last.shape[axis] for axis in turn)
            net.then("TRANSPOSE", axes, shape=shape, options=schema.TransposeOptionsT())
        net.then("LOGISTIC")
    return net.finished()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--memory", type=int, help="MB of a model to quantize")
    parser.add_argument("--large", type=int, help="operators of a graph to look at")
    parser.add_argument("--quantize", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quantize:
        _quantize(*options.quantize)
    elif options.memory:
        _memory(options.memory)
    elif options.large:
        _large(options.large)
    else:
        _passes(options.lengths)


def _passes(lengths: list[int]) -> None:
    found: dict[str, dict[int, float]] = {}
    for length in lengths:
        runs = [_through_everything(length) for _ in range(3)]
        for name in runs[0]:
            found.setdefault(name, {})[length] = min(run[name] for run in runs)
    table = Table(
        "pass", *(f"{length:,}" for length in lengths), "growth", title=f"seconds, {MUST}"
    )
    for name, times in found.items():
        before, after = (max(times.get(length, 0.0), 1e-4) for length in lengths[-2:])
        growth = math.log(after / before) / math.log(lengths[-1] / lengths[-2])
        shown = [f"{times.get(length, 0.0):.3f}" for length in lengths]
        table.add_row(name, *shown, f"{growth:.1f}" if after > 0.02 else "")
    Console().print(table)


def _through_everything(length: int) -> dict[str, float]:
    """The seconds of each pass, and of each question that is asked of a whole graph."""
    times: dict[str, float] = {}

    def asked(name: str, question: Callable[[], Any]) -> Any:
        started = time.process_time()
        answer = question()
        times[name] = time.process_time() - started
        return answer

    gc.collect()
    gc.freeze()  # what is here already is nothing that a pass has to do with
    model = chain(length)
    ranges = {t.name: (0.0, 1.0) for t in model.main.tensors if not t.is_constant}
    data = asked("(write)", model.packed)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "chain.tflite")
        path.write_bytes(data)
        model = asked("(read)", lambda: read(path))
    asked("(copy)", model.copy)
    with _timed(times):
        normalise(model)
        Simplify()(model)
        quantized(model, "int8-float-io", ranges)
        quantized(model, "fp16")
        clean(model)
    asked("find layers", lambda: find_layers(model))
    asked("find streams", lambda: find_streams(model))
    asked("find masks", lambda: find_masks(model, ranges))
    asked("find joined tensors", lambda: boundaries(model.main.outputs[0], 3))
    asked("keep readable", lambda: keep_readable(model, [model.main.outputs[0].name]))
    return times


@contextmanager
def _timed(times: dict[str, float]) -> Iterator[None]:
    """Note the seconds of every pass that runs, but for sequences, which consist of others."""
    plain = GraphPass.__call__

    def call(one: GraphPass, model: Model) -> PassResult:
        started = time.process_time()
        result = plain(one, model)
        if not isinstance(one, PassSequence):
            times[one.name] = times.get(one.name, 0.0) + time.process_time() - started
        return result

    with patch.object(GraphPass, "__call__", call):
        yield


def _large(count: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "large.tflite")
        write(chain(count), path)
        console = Console()
        steps: list[tuple[str, Callable[[Model], Any]]] = [
            ("summarize, as edgekit inspect does", lambda _: summarize(path)),
            ("normalise", normalise),
            ("simplify", Simplify()),
            ("clean", clean),
        ]
        console.print(f"{count:,} operators, {path.stat().st_size / 1e6:.1f} MB")
        model = loaded(path)
        for title, step in steps:
            started, cpu = time.perf_counter(), time.process_time()
            step(model)
            spent, cpu = time.perf_counter() - started, time.process_time() - cpu
            console.print(f"{title}: {spent:.1f} s, {cpu:.1f} s of the processor")


def _memory(megabytes: int) -> None:
    width, layers = WIDTH, 0
    net = Chain(1, width)
    while layers * width * width * 4 < megabytes * 1e6:
        weights = net.rng.normal(0, width**-0.5, (width, width)).astype(np.float32)
        net.then(
            "FULLY_CONNECTED",
            net.constant(f"w{layers}", weights),
            net.constant(f"b{layers}", np.zeros(width, np.float32)),
            options=schema.FullyConnectedOptionsT(fusedActivationFunction=1),
        )
        layers += 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, samples = folder / "model.tflite", folder / "samples.npy"
        write(net.finished(), model)
        np.save(samples, net.rng.normal(0, 1, (16, width)).astype(np.float32))
        size = model.stat().st_size / 1e6
        command = [sys.executable, __file__, "--quantize", str(model), str(samples)]
        started = time.perf_counter()
        subprocess.run(command, check=True)
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, cpu = usage.ru_maxrss / 1e3, usage.ru_utime + usage.ru_stime
    Console().print(
        f"{layers} layers, {size:.0f} MB: int8, effort balanced, peak {peak:.0f} MB, "
        f"{peak / size:.1f} times the file (must be ≤ 4); "
        f"{time.perf_counter() - started:.0f} s, {cpu:.0f} s of the processor"
    )


def _quantize(model: Path, samples: Path) -> None:
    feeds = [SampleFeed(stack=samples, shape=(1, WIDTH), permutation=(0, 1))]
    quantize(
        model,
        {"int8": model.with_name("int8.tflite")},
        feeds=feeds,
        work=model.parent,
        progress=lambda *_: None,
    )


if __name__ == "__main__":
    main()
