"""Stacks of samples: (1, …) becomes (N, …), any other shape gets the samples' axis in front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array


def sample_shapes(specs: Sequence[TensorSpec], stacks: Sequence[Array]) -> tuple[TensorSpec, ...]:
    """The specs with the shapes of one sample of these stacks; open dimensions are closed by them.

    Raises:
        DataError: a stack does not fit, stacks differ in length, or there is no sample.
    """
    if len(specs) != len(stacks):
        raise DataError(f"The model has {len(specs)} inputs, {len(stacks)} arrays were given.")
    counts = {len(stack) for stack in stacks}
    if len(counts) != 1 or 0 in counts:
        raise DataError(f"The inputs have {sorted(counts)} samples; it must be one number from 1.")
    closed = []
    for spec, stack in zip(specs, stacks, strict=True):
        batched = len(stack.shape) == len(spec.shape) and spec.shape[:1] in ((1,), (None,))
        shape = (1, *stack.shape[1:]) if batched else tuple(stack.shape[1:])
        if len(shape) != len(spec.shape) or any(
            size not in (None, given) for size, given in zip(spec.shape, shape, strict=True)
        ):
            raise DataError(
                f"Input {spec.name} wants samples of shape {spec.shape}, "
                f"a stack of shape {tuple(stack.shape)} was given.",
                cure="State the shape that the app will use with --input.",
            )
        closed.append(replace(spec, shape=shape))
    return tuple(closed)


def samples_of(spec: TensorSpec, stack: Array) -> list[Array]:
    """Each sample of a stack in its own shape, as `sample_shapes` gives it."""
    shape = tuple(size or 1 for size in spec.shape)
    return [row.reshape(shape) for row in stack]


def stacked(samples: Sequence[Array]) -> Array:
    """Samples of one shape as a stack: the inverse of `samples_of`."""
    import numpy as np

    result: Array = np.concatenate(samples) if samples[0].shape[:1] == (1,) else np.stack(samples)
    return result


def reals(values: Array) -> Array:
    """Real numbers in float32; whole numbers as they are, which float32 could not hold exactly."""
    import numpy as np

    result: Array = values.astype(np.float32, copy=False) if values.dtype.kind == "f" else values
    return result


def spec_tables(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
    """Tensor specs as the worker protocol has them."""
    return [
        {"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "layout": s.layout}
        for s in specs
    ]
