"""What the layers of the quantized graph read: means and second moments of their input patches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from edgekit.quantize.layers import Layer, patches, position_count
from edgekit.quantize.observe import SampleFeed, count_samples, samples
from edgekit.quantize.twins import Watched
from edgekit.tflite.model import Model

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

POSITIONS = 4096
"""Patches per layer over all samples: many samples with few patches each tell more than the other
way round, since patches of one picture are alike. More change nothing that could be measured."""
DEPTHWISE_POSITIONS = 1024
"""Fewer do where a matrix is kernel by kernel small, and each costs as much."""
_LEAST_POSITIONS = 8
MOST_COLUMNS = 4096
"""Layers with longer rows are not rounded with a Hessian: it would take over 128 MB and minutes."""
_MEMORY = 512 << 20
_ROWS_AT_ONCE = 512
_EXACTNESS = 1e-5
"""Of sums in float32, in parts of their size: without it a constant input looks like noise that is
less than zero, and the matrix has no Cholesky factor."""


@dataclass(kw_only=True)
class Moments:
    """Sums over the patches that a layer reads.

    ``mean`` has the shape (K,), for depthwise (channels, K), and so has the second moment one axis
    K more.
    """

    count: int = 0
    total: Any = 0.0
    products: Any = 0.0
    waiting: list[Any] = field(default_factory=list)

    def add(self, given: Array, *, second: bool) -> None:
        """Add patches (P, K), or (P, K, channels) with moments per channel."""
        import numpy as np

        self.count += len(given)
        total = given.sum(axis=0, dtype=np.float64)
        self.total = self.total + (total.T if given.ndim == 3 else total)
        if second:
            self.waiting.append(given)
            if sum(map(len, self.waiting)) >= _ROWS_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Multiply what is waiting: one large product is much faster than many small ones."""
        import numpy as np

        if not self.waiting:
            return
        given = np.concatenate(self.waiting)
        self.waiting.clear()
        if given.ndim == 3:
            given = np.ascontiguousarray(given.transpose(2, 0, 1))  # or NumPy leaves BLAS out
        self.products = self.products + np.swapaxes(given, -1, -2) @ given

    @property
    def mean(self) -> Array:
        """The mean patch."""
        import numpy as np

        return np.asarray(self.total / max(self.count, 1))

    def second(self, *, centred: bool) -> Array:
        """E[y·yᵀ], or the covariance where a bias takes care of the mean."""
        import numpy as np

        result = np.asarray(self.products, np.float64) / max(self.count, 1)
        if centred:
            mean = self.mean
            unsure = _EXACTNESS * np.einsum("...kk->...k", result)
            result = result - mean[..., :, None] * mean[..., None, :]
            result = result + unsure[..., None] * np.eye(result.shape[-1])
        return np.asarray(result)


def columns(layer: Layer) -> int:
    """The length of a row of the layer's matrix."""
    return int(layer.matrix().shape[1])


def in_groups(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """The layers in groups whose second moments and inputs fit into memory together."""
    group: list[Layer] = []
    used = 0
    for layer in layers:
        rows = layer.weights.shape[-1] if layer.is_depthwise else 1
        size = 8 * rows * min(columns(layer), MOST_COLUMNS) ** 2
        size += 4 * prod(layer.input.shape)  # which stays readable after each run
        if group and used + size > _MEMORY:
            yield group
            group, used = [], 0
        group.append(layer)
        used += size
    if group:
        yield group


def collect(
    quantized: Model,
    layers: Sequence[Layer],
    feeds: Sequence[SampleFeed],
    *,
    second: bool,
    seed: int = 0,
) -> list[Moments]:
    """Run the quantized graph and gather the moments of what each layer reads.

    Args:
        quantized: the model to run; its tensors carry the names of the float model's.
        layers: of the float model.
        feeds: the samples.
        second: gather second moments too.
        seed: of the positions that are looked at.
    """
    import numpy as np

    names = [layer.input.name for layer in layers]
    graph = Watched(quantized, names, threads=2)
    generator = np.random.default_rng(seed)
    moments = [Moments() for _ in layers]
    count = count_samples(feeds)
    wide = [columns(layer) > MOST_COLUMNS for layer in layers]
    for values in samples(feeds):
        graph.invoke(values)
        for layer, sums, too_wide in zip(layers, moments, wide, strict=True):
            in_all = DEPTHWISE_POSITIONS if layer.is_depthwise else POSITIONS
            most = max(_LEAST_POSITIONS, in_all // count)
            positions = generator.permutation(position_count(layer))[:most]
            taken = patches(layer, positions, partial(graph.read, layer.input.name))
            sums.add(taken, second=second and not too_wide)
    for sums in moments:
        sums.flush()
    return moments
