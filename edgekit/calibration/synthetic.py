"""Random inputs, for when somebody explicitly asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.calibration.samples import Dataset, SampleSet
from edgekit.calibration.writer import SetWriter
from edgekit.contract import Contract, InputContract, image_axes
from edgekit.preprocess import preprocess_image

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

MOST_FOR_PARITY = 32


def synthetic(contract: Contract, *, folder: Path, samples: int, seed: int) -> Dataset:
    """Seeded random inputs; what is measured on them says little about real data.

    Pictures are smooth random colours that go through the preprocessing, because white noise is
    like nothing that a network was trained on. Other floats are normally distributed, integers are
    0 to 9. Writes the same files as `load`: ``samples`` to calibrate with, and as many but at most
    `MOST_FOR_PARITY` others to measure with.

    Raises:
        DataError: the preprocessing does not end in the size of the input.
        UsageError: the contract makes no sense.
    """
    import numpy as np

    sets: dict[str, SampleSet] = {}
    counts = {"calibration": samples, "parity": min(samples, MOST_FOR_PARITY)}
    for number, (role, count) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        with SetWriter(folder / role, contract) as writer:
            for index in range(count):
                tensors = {entry.tensor.name: _draw(entry, rng) for entry in contract.inputs}
                writer.append(tensors, f"synthetic[{index}]", None, "")
        sets[role] = writer.result(synthetic=True)
    return Dataset(
        calibration=sets["calibration"],
        parity=sets["parity"],
        seed=seed,
        notes=("the inputs are random (--synthetic): they say little about real data",),
    )


def _draw(entry: InputContract, rng: np.random.Generator) -> Array:
    import numpy as np

    spec = entry.tensor
    axes = image_axes(spec)
    if entry.preprocess is not None and axes is not None:
        height, width, channels = (spec.shape[axis] or 1 for axis in axes)
        return preprocess_image(_smooth_picture(height, width, channels, rng), entry)
    dtype = np.dtype(spec.dtype)
    shape = tuple(dimension or 1 for dimension in spec.shape)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), dtype)
    return np.asarray(rng.integers(0, 2 if dtype.kind == "b" else 10, shape), dtype)


def _smooth_picture(height: int, width: int, channels: int, rng: np.random.Generator) -> Array:
    """A few random colours, blended over the whole picture."""
    import cv2
    import numpy as np

    cells = int(rng.integers(3, 9))
    colours = rng.integers(0, 256, (cells, cells, channels)).astype(np.float32)
    blended = cv2.resize(colours, (width, height), interpolation=cv2.INTER_CUBIC)
    picture: Array = np.rint(blended).clip(0, 255).astype(np.uint8).reshape(height, width, channels)
    return picture
