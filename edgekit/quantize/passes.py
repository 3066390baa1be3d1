"""The passes that prepare a float model, each float → float and each on its own.

A pass changes a copy of the model as prepared so far, and says what it did. Whether that is kept is
decided by `edgekit.quantize.prepare`, on samples that no pass has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgekit.errors import ConversionError
from edgekit.quantize import equalize, rounding
from edgekit.quantize.emit import Emissions
from edgekit.quantize.grids import INT8, Grid, steps
from edgekit.quantize.layers import Layer, find_layers
from edgekit.quantize.moments import Moments, collect, in_groups
from edgekit.quantize.observe import SampleFeed, in_memory_groups, samples
from edgekit.quantize.twins import Watched, side_by_side
from edgekit.tflite.model import Model
from edgekit.tflite.passes import GraphPass, PassFailure, PassResult, attempt
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
        emissions: makes the quantized twins.
        seed: of everything that is drawn.
        damping: of rounding, see `edgekit.quantize.rounding.damped`.
    """

    feeds: Sequence[SampleFeed]
    emissions: Emissions = field(default_factory=Emissions)
    seed: int = 0
    damping: float = rounding.DAMPING


@dataclass(kw_only=True)
class Preparation(GraphPass):
    """A pass that learns from samples.

    Attributes:
        bench: the samples to learn from.
        source: what it is to be done to; stays as it is.
        ranges: of the activations.
    """

    bench: Bench
    source: Model
    ranges: Ranges = field(default_factory=dict)

    def prepared(self) -> tuple[Model, PassResult]:
        """The changed model, and what was done or why it could not be."""
        model = self.source.copy()
        return model, attempt(self, model)

    def twin(self, model: Model, scheme: Scheme = "int8") -> Model:
        """The quantized twin of a model that is not changed any more.

        Raises:
            PassFailure: litert-quantizer refuses the model.
        """
        try:
            return self.bench.emissions(model, scheme, self.ranges).model
        except ConversionError as error:
            raise PassFailure(str(error)) from error


class EqualizeChannels(Preparation):
    """Cross-layer equalization over all streams; see `edgekit.quantize.equalize`."""

    def call(self, model: Model) -> PassResult:
        """How many channels were scaled; nothing where there are no streams."""
        import numpy as np

        streams = equalize.find_streams(model)
        if not streams:
            return self.did(0)
        names = [tensor.name for stream in streams for tensor in stream.tensors]
        magnitudes: dict[str, Array] = {}
        for group in in_memory_groups(model.main, set(names)):
            graph = Watched(model, group, threads=2)
            for values in samples(self.bench.feeds):
                for name, value in graph.run(values).items():
                    largest = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
                    magnitudes[name] = np.maximum(magnitudes.get(name, 0), largest)
        changed = equalize.equalize(streams, magnitudes)
        return self.did(len(streams), f"{changed} channels in {len(streams)} streams")


class RoundWeights(Preparation):
    """Error-compensated rounding of all layers, and the bias that takes up what is left.

    See `edgekit.quantize.rounding`. What the layers read is taken from the quantized graph.
    """

    def call(self, model: Model) -> PassResult:
        """How many layers were rounded."""
        bench, twin, layers = self.bench, self.twin(self.source), find_layers(model)
        rounded = 0
        for group in in_groups(layers):
            moments = collect(twin, group, bench.feeds, second=True, seed=bench.seed)
            for layer, sums in zip(group, moments, strict=True):
                rounded += round_layer(layer, sums, damping=bench.damping)
        return self.did(len(layers), f"{rounded} of {len(layers)} layers")


@dataclass(kw_only=True)
class RoundInSequence(Preparation):
    """The same stage by stage: each is rounded for what the stages before it really make.

    `RoundWeights` looks at a graph with all weights rounded to the nearest; here each stage looks
    at the graph in which everything before it has its final weights. The source is rounded already;
    its weights stand in where the sequence has not come yet.

    Attributes:
        unrounded: the same model with the weights that are to be rounded.
    """

    unrounded: Model

    def call(self, model: Model) -> PassResult:
        """How many layers were rounded."""
        trial, bench = model.copy(), self.bench
        originals = {layer.name: layer for layer in find_layers(self.unrounded)}
        layers = find_layers(trial)
        rounded = 0
        size = max(1, -(-len(layers) // _STAGES))
        for start in range(0, len(layers), size):
            twin = self.twin(trial.copy())
            for group in in_groups(layers[start : start + size]):
                found = collect(twin, group, bench.feeds, second=True, seed=bench.seed)
                for layer, sums in zip(group, found, strict=True):
                    layer.copy_from(originals[layer.name])
                    rounded += round_layer(layer, sums, damping=bench.damping)
        for layer, final in zip(find_layers(model), layers, strict=True):
            layer.copy_from(final)
        stages = -(-len(layers) // size)
        return self.did(len(layers), f"{rounded} of {len(layers)} layers in {stages} stages")


class CorrectBias(Preparation):
    """Nearest rounding, and in the bias what that changes in the mean of each output channel.

    Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV
    2019, section 4.2, with the means measured instead of derived.
    """

    def call(self, model: Model) -> PassResult:
        """How many layers were corrected."""
        import numpy as np

        bench, twin = self.bench, self.twin(self.source)
        layers = [layer for layer in find_layers(model) if _takes_bias(layer)]
        moments = collect(twin, layers, bench.feeds, second=False, seed=bench.seed)
        for layer, sums in zip(layers, moments, strict=True):
            weights, scales = layer.matrix().astype(np.float64), layer.scales()
            nearest = np.rint(weights / scales[:, None]) * scales[:, None]
            replace_weights(layer, nearest, sums)
        return self.did(len(layers), f"{len(layers)} layers")


@dataclass(kw_only=True)
class CorrectDrift(Preparation):
    """The mean by which the quantized graph drifts off, taken back where layers make the outputs.

    The other passes make up for what each layer adds by itself; small shifts of many layers still
    add up. Here the whole quantized graph is compared with the original one. A mean over few
    samples is uncertain, so each channel takes only the part that stands out from its noise
    (μ²/(μ² + σ²/n), a shrinkage estimate after James and Stein).

    Attributes:
        original: the float model to come close to.
        scheme: of the quantized twin.
    """

    original: Model
    scheme: Scheme = "int8"

    def call(self, model: Model) -> PassResult:
        """How many outputs were corrected."""
        import numpy as np

        ends = {tensor.name for tensor in model.main.outputs}
        layers = [
            layer
            for layer in find_layers(model)
            if layer.name in ends and _takes_bias(layer) and _is_linear(model, layer)
        ]
        if not layers:
            return self.did(0)
        names = [layer.name for layer in layers]
        floating = Watched(self.original, names)
        quantized = Watched(self.twin(self.source, self.scheme), names)
        drifts: dict[str, list[Array]] = {name: [] for name in names}
        for wanted, given in side_by_side(floating, quantized, self.bench.feeds):
            for name in names:
                difference = wanted[name] - given[name]
                drifts[name].append(difference.reshape(-1, difference.shape[-1]).mean(axis=0))
        for layer in layers:
            values = np.stack(drifts[layer.name]).astype(np.float64)
            mean, noise = values.mean(axis=0), values.var(axis=0, ddof=1) / len(values)
            certain = mean * mean / np.maximum(mean * mean + noise, 1e-30)
            assert layer.bias is not None
            layer.bias.set_data((layer.bias.data() + mean * certain).astype(np.float32))
        return self.did(len(layers), f"{len(layers)} outputs")


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
