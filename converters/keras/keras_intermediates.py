"""What every layer of a Keras model returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from edgekit_worker import WorkerError

Layers = Callable[[list[Any]], Iterator[tuple[str, str, np.ndarray]]]


def layers_of(model: Any) -> Layers:
    """A function from one sample's inputs to the name, class and result of each layer, in order.

    Raises:
        WorkerError: it is not a Keras model of named layers (a SavedModel, for example).
    """
    if not isinstance(model, keras.Model) or not model.inputs:
        raise WorkerError(
            "A SavedModel does not tell its layers.",
            cure="Give the .keras file that it was made from.",
            kind="model",
        )
    watched = [
        (layer.name, type(layer).__name__, layer.output)
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer) and _is_tensor(layer)
    ]
    inner = keras.Model(model.inputs, [output for _, _, output in watched])

    def run(feeds: list[Any]) -> Iterator[tuple[str, str, np.ndarray]]:
        values = inner(feeds, training=False)
        for (name, kind, _), value in zip(watched, values, strict=True):
            yield name, kind, np.asarray(value)

    return run


def _is_tensor(layer: Any) -> bool:
    """Whether a layer is used once and returns one tensor."""
    try:
        return isinstance(layer.output, keras.KerasTensor)
    except (AttributeError, ValueError):  # never called, or called several times
        return False
