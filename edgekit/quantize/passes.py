"""The passes that prepare a float model, each float → float and each on its own.

A pass takes the workbench and the model as prepared so far, writes the next one, and says what it
did. Whether what it did is kept is decided by the engine, on samples that no pass has seen.

A pass that cannot do a graph raises ConversionError: it is left out, and the report says so.
Nothing else is caught: a mistake in edgekit ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.quantize import equalize, rounding
from edgekit.quantize.emit import emit
from edgekit.quantize.grids import INT8, Grid, steps
from edgekit.quantize.layers import Layer, find_layers
from edgekit.quantize.moments import Moments, collect, in_groups
from edgekit.quantize.observe import SampleFeed, in_memory_groups, samples
from edgekit.quantize.twins import Watched, side_by_side
from edgekit.tflite.model import Model, read, write
from edgekit.types import Ranges, Scheme

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]


_STAGES = 8
"""More stages cost as many runs of the graph and gained nothing that stood out."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every pass works with.

    Attributes:
        feeds: the samples to learn from.
        work: a folder for intermediate files.
        seed: of everything that is drawn.
        damping: of rounding, see `edgekit.quantize.rounding.damped`.
    """

    feeds: Sequence[SampleFeed]
    work: Path
    seed: int = 0
    damping: float = rounding.DAMPING


def equalize_channels(model: Path, output: Path, bench: Bench) -> str:
    """Cross-layer equalization over all streams; see `edgekit.quantize.equalize`.

    Returns:
        What was done, in words; empty where there was nothing to do (no file is written then).
    """
    import numpy as np

    loaded = read(model)
    streams = equalize.find_streams(loaded)
    if not streams:
        return ""
    names = [tensor.name for stream in streams for tensor in stream.tensors]
    magnitudes: dict[str, Array] = {}
    for group in in_memory_groups(loaded.main, set(names)):
        graph = Watched(model, group, work=bench.work, threads=2)
        for values in samples(bench.feeds):
            for name, value in graph.run(values).items():
                largest = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
                magnitudes[name] = np.maximum(magnitudes.get(name, 0), largest)
    changed = equalize.equalize(streams, magnitudes)
    write(loaded, output)
    return f"{changed} channels in {len(streams)} streams"


def round_weights(model: Path, output: Path, bench: Bench, ranges: Ranges) -> str:
    """Error-compensated rounding of all layers, and the bias that takes up what is left.

    See `edgekit.quantize.rounding`. What the layers read is taken from the quantized graph.
    """
    loaded = read(model)
    layers = find_layers(loaded)
    twin = bench.work / "twin.tflite"
    emit(model, twin, "int8", ranges)
    rounded = 0
    for group in in_groups(layers):
        moments = collect(twin, group, bench.feeds, work=bench.work, second=True, seed=bench.seed)
        for layer, sums in zip(group, moments, strict=True):
            rounded += round_layer(layer, sums, damping=bench.damping)
    write(loaded, output)
    return f"{rounded} of {len(layers)} layers"


def round_in_sequence(
    model: Path, output: Path, bench: Bench, ranges: Ranges, *, unrounded: Path
) -> str:
    """The same stage by stage: each is rounded for what the stages before it really make.

    `round_weights` looks at a graph with all weights rounded to the nearest; here each stage looks
    at the graph in which everything before it has its final weights.

    Args:
        model: rounded already; its weights stand in where the sequence has not come yet.
        output: the file to write.
        bench: the samples to learn from.
        ranges: of the activations.
        unrounded: the same model with the weights that are to be rounded.
    """
    originals, loaded = find_layers(read(unrounded)), read(model)
    layers = find_layers(loaded)
    twin = bench.work / "twin.tflite"
    rounded = 0
    size = max(1, -(-len(layers) // _STAGES))
    for start in range(0, len(layers), size):
        write(loaded, output)
        emit(output, twin, "int8", ranges)
        stage = layers[start : start + size]
        for group in in_groups(stage):
            found = collect(twin, group, bench.feeds, work=bench.work, second=True, seed=bench.seed)
            for layer, sums in zip(group, found, strict=True):
                layer.copy_from(originals[layers.index(layer)])
                rounded += round_layer(layer, sums, damping=bench.damping)
    write(loaded, output)
    return f"{rounded} of {len(layers)} layers in {-(-len(layers) // size)} stages"


def correct_bias(model: Path, output: Path, bench: Bench, ranges: Ranges) -> str:
    """Nearest rounding, and in the bias what that changes in the mean of each output channel.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019, section 4.2, with the means measured instead of derived.
    """
    import numpy as np

    loaded = read(model)
    layers = [layer for layer in find_layers(loaded) if _takes_bias(layer)]
    twin = bench.work / "twin.tflite"
    emit(model, twin, "int8", ranges)
    moments = collect(twin, layers, bench.feeds, work=bench.work, second=False, seed=bench.seed)
    for layer, sums in zip(layers, moments, strict=True):
        weights, scales = layer.matrix().astype(np.float64), layer.scales()
        nearest = np.rint(weights / scales[:, None]) * scales[:, None]
        replace_weights(layer, nearest, sums)
    write(loaded, output)
    return f"{len(layers)} layers"


def correct_drift(
    model: Path,
    output: Path,
    bench: Bench,
    ranges: Ranges,
    *,
    original: Path,
    scheme: Scheme = "int8",
) -> str:
    """The mean by which the quantized graph drifts off, taken back where layers make the outputs.

    The other passes make up for what each layer adds by itself; small shifts of many layers still
    add up. Here the whole quantized graph is compared with the original one. A mean over few
    samples is uncertain, so each channel takes only the part that stands out from its noise
    (μ²/(μ² + σ²/n), a shrinkage estimate after James and Stein).
    """
    import numpy as np

    loaded = read(model)
    ends = {tensor.name for tensor in loaded.main.outputs}
    layers = [
        layer
        for layer in find_layers(loaded)
        if layer.name in ends and _takes_bias(layer) and _is_linear(loaded, layer)
    ]
    if not layers:
        return ""
    twin = bench.work / "twin.tflite"
    emit(model, twin, scheme, ranges)
    names = [layer.name for layer in layers]
    floating = Watched(original, names, work=bench.work)
    quantized = Watched(twin, names, work=bench.work)
    drifts: dict[str, list[Array]] = {name: [] for name in names}
    for wanted, given in side_by_side(floating, quantized, bench.feeds):
        for name in names:
            difference = wanted[name] - given[name]
            drifts[name].append(difference.reshape(-1, difference.shape[-1]).mean(axis=0))
    for layer in layers:
        values = np.stack(drifts[layer.name]).astype(np.float64)
        mean, noise = values.mean(axis=0), values.var(axis=0, ddof=1) / len(values)
        certain = mean * mean / np.maximum(mean * mean + noise, 1e-30)
        assert layer.bias is not None
        layer.bias.set_data((layer.bias.data() + mean * certain).astype(np.float32))
    write(loaded, output)
    return f"{len(layers)} outputs"


def _is_linear(model: Model, layer: Layer) -> bool:
    operator = model.main.operators[layer.index]
    return int(operator.options.fusedActivationFunction) == 0


def round_layer(
    layer: Layer, sums: Moments, grid: Grid = INT8, damping: float = rounding.DAMPING
) -> bool:
    """New weights on the grid; false where the layer has too long rows and is left alone."""
    import numpy as np

    if not np.any(sums.products):
        return False
    hessian = rounding.damped(sums.second(centred=_takes_bias(layer)), damping)
    energy = None if layer.is_depthwise else np.diagonal(hessian)
    weights, scales = layer.matrix().astype(np.float64), steps(layer, grid, energy)
    solve = rounding.round_channels if layer.is_depthwise else rounding.round_rows
    try:
        index = solve(weights, hessian, scales, grid.limit)
    except np.linalg.LinAlgError:
        return False  # one layer that reads nearly nothing must not cost the others
    # A transposed convolution has several rows to a channel, which share one step.
    channels = layer.weights.shape[0] if layer.kind == "TRANSPOSE_CONV" else len(weights)
    cells = (-1, grid.block) if grid.block else (channels, -1)
    index = rounding.keep_extremes(
        index.reshape(cells), weights.reshape(cells), grid.limit
    ).reshape(weights.shape)
    replace_weights(layer, index * (scales if scales.ndim == 2 else scales[:, None]), sums)
    return True


def replace_weights(layer: Layer, matrix: Array, sums: Moments) -> None:
    """Other weights, and in the bias what that changes in the mean of each output channel."""
    import numpy as np

    lost = layer.matrix().astype(np.float64) - matrix
    layer.set_matrix(matrix)
    if _takes_bias(layer):
        _add_to_bias(layer, lost, sums)


def _takes_bias(layer: Layer) -> bool:
    """Whether the mean error of an output channel can go into its bias.

    Not for transposed convolution: how many patches meet in a pixel varies over the picture.
    """
    return layer.bias is not None and layer.kind != "TRANSPOSE_CONV"


def _add_to_bias(layer: Layer, lost: Array, sums: Moments) -> None:
    """Put the mean of what the weights lost, (rows, K), into the bias."""
    import numpy as np

    assert layer.bias is not None
    mean = sums.mean
    missing = (lost * mean).sum(axis=1) if layer.is_depthwise else lost @ mean
    layer.bias.set_data((layer.bias.data() + missing).astype(np.float32))
