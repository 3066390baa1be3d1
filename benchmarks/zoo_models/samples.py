"""What the networks of the zoo are fed: computed, so that every run sees the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo_models.listing import Feed

WORDS = 200


def samples(feed: Feed, count: int, seed: int) -> NDArray[Any]:
    """``count`` samples without the batch: (count, …).

    Pictures are smooth fields with edges and a little noise, each with a colour and contrast of its
    own, between 0 and 1; sequences are smoothed noise; words and masks are whole numbers.
    """
    draw = np.random.default_rng(seed)
    shape = (count, *feed.shape[1:])
    if feed.kind == "ids":
        return draw.integers(3, WORDS, shape, dtype=np.int64)
    if feed.kind == "mask":
        return (np.arange(shape[1]) < draw.integers(4, shape[1] + 1, (count, 1))).astype(np.int64)
    if feed.kind == "step":
        return draw.uniform(0, 100, shape[:1]).astype(np.float32)
    if feed.kind == "noise":
        return (draw.normal(size=shape) * draw.uniform(0.3, 2, (count,) + (1,) * (len(shape) - 1))
                ).astype(np.float32)  # fmt: skip
    return np.stack([_picture(draw, feed.shape[1:]) for _ in range(count)])


def _picture(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """One picture of shape (C, …, H, W), or (H, W, C) where the last axis is the shortest."""
    last = shape[-1] < shape[0]
    height, width = shape[:2] if last else shape[-2:]
    channels = shape[-1] if last else int(np.prod(shape[:-2]))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    layers = []
    for _ in range(channels):
        angle, rate, phase = draw.uniform(0, 6.3), draw.uniform(2, 30), draw.uniform(0, 6.3)
        waves = np.sin(rate * (np.cos(angle) * x + np.sin(angle) * y) + phase)
        cut = draw.uniform(0.2, 0.8, 2)
        edge = np.where((x > cut[0]) ^ (y > cut[1]), 1.0, -1.0) * draw.uniform(0, 1)
        layers.append(waves + edge + draw.normal(size=(height, width)) * draw.uniform(0, 0.3))
    field = np.stack(layers)
    field = 0.5 + draw.uniform(0.08, 0.25) * field + draw.uniform(-0.2, 0.2, (channels, 1, 1))
    field = np.clip(field, 0, 1).astype(np.float32)
    return field.transpose(1, 2, 0) if last else field.reshape(shape)
