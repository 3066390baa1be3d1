"""Random weights of a kind with trained ones: signals stay alive from first layer to last.

A network as it is constructed is no fair subject: batch normalisation has statistics of data
that it has never seen, so that signals die or explode over fifty layers; layer scales of 1e-6
switch blocks off; class tokens and positions of 0.02 drown in what is added to them. A file for
such a network can have any decibels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALL = 0.05


def enliven(net: Any, batches: Sequence[NDArray[Any]], seed: int) -> Any:
    """Draw what is degenerate anew; take batch normalisation's statistics from ``batches``.

    Args:
        net: a PyTorch module, changed in place.
        batches: an array (count, …) for each input.
        seed: of what is drawn.
    """
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            _draw(name.rsplit(".", 1)[-1], parameter)
        _statistics(net, [torch.from_numpy(batch) for batch in batches])
    return net.eval()


def _draw(name: str, parameter: Any) -> None:
    """Give one parameter the size that training gives it, where construction does not."""
    import torch

    biggest = float(parameter.abs().max()) if parameter.numel() else 1.0
    if "gamma" in name or "layer_scale" in name or name.startswith("scale"):
        if biggest < _SMALL:
            parameter.copy_(torch.empty_like(parameter).uniform_(0.1, 0.4))
    elif "token" in name or "pos" in name:
        if float(parameter.std(unbiased=False)) < _SMALL:
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    elif biggest == 0 and parameter.ndim > 1:
        parameter.copy_(torch.randn_like(parameter) / parameter[0].numel() ** 0.5)
    elif biggest == 0:
        parameter.copy_(torch.randn_like(parameter) * 0.05)


def _statistics(net: Any, batches: Sequence[Any]) -> None:
    """One pass over ``batches`` with only batch normalisation in training."""
    from torch import nn

    net.eval()
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001
    if not norms:
        return
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    net(*batches)
    net.eval()


def enliven_keras(net: Any, batch: NDArray[Any], seed: int) -> Any:
    """The same for a Keras model of one input: statistics layer by layer, from the first on."""
    import keras

    draw = np.random.default_rng(seed)
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            inside = np.asarray(keras.Model(net.inputs, layer.input)(batch))
            axes = tuple(range(inside.ndim - 1))
            layer.moving_mean.assign(inside.mean(axes))
            layer.moving_variance.assign(inside.var(axes) + 1e-5)
        for weight in layer.weights:
            if "gamma" in weight.path and float(np.abs(np.asarray(weight)).max()) < _SMALL:
                weight.assign(draw.uniform(0.1, 0.4, weight.shape))
    return net
