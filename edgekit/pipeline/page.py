"""What the page of a conversion shows beside its figures: pictures, and the graph of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgekit.contract import InputContract, image_axes
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.reference import Reference
from edgekit.raw_pixels.normalization import Normalization
from edgekit.report.conversion import to_html
from edgekit.report.graph import DrawnGraph, draw_graph
from edgekit.report.thumbnails import Thumbnail, encoded
from edgekit.report.validation_details import MOST_CARDS
from edgekit.results import ConversionResult, FileResult
from edgekit.targets.reading import load
from edgekit.tflite.model import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ACCELERATORS = ("xnnpack", "gpu-delegate", "edge-tpu", "ethos-u55")
"""Whose view of the graph is shown where no target was stated."""


def make_page(
    plan: Plan, result: ConversionResult, files: Sequence[FileResult], reference: Reference
) -> str:
    """The page of a conversion.

    Args:
        plan: what was asked for.
        result: what came of it.
        files: where the files lie until they are published.
        reference: has the samples.
    """
    return to_html(
        result,
        pictures=sample_pictures(files, reference) if plan.request.pictures else None,
        graph=_graph(plan, files),
    )


def sample_pictures(files: Sequence[FileResult], reference: Reference) -> dict[str, Thumbnail]:
    """The worst samples as the model sees them, by id; none where its inputs are not pictures."""
    import numpy as np

    parity = reference.data.parity
    entry = next((one for one in reference.contract.inputs if image_axes(one.tensor)), None)
    if entry is None or parity.synthetic:
        return {}
    stack = np.load(parity.files[entry.tensor.name], mmap_mode="r")
    worst = sorted((one for file in files for one in file.worst), key=lambda one: one.sqnr_db)
    ids = list(dict.fromkeys(one.id for one in worst))[:MOST_CARDS]
    as_stated = entry.tensor.name in parity.pictures
    shape = [size or 1 for size in entry.tensor.shape[1:]]
    found = {}
    for name in ids:
        sample = np.asarray(stack[parity.ids.index(name)])
        picture = encoded(_pixels(sample.reshape(shape), entry, as_stated))
        if picture is not None:
            found[name] = picture
    return found


def _pixels(sample: Array, entry: InputContract, as_stated: bool) -> Array:
    """What the model is fed as a picture for OpenCV.

    Where nobody knows how the values were made of pixels, the smallest is black, the largest white.
    """
    import numpy as np

    axes = image_axes(entry.tensor)
    assert axes is not None
    sample = np.moveaxis(sample, axes[2] - 1, -1).astype(np.float32)
    channels = sample.shape[-1]
    colour = "RGB"
    if as_stated and entry.preprocess is not None:
        colour = entry.preprocess.color
        sample = Normalization.of(entry.preprocess, channels).pixels(sample, sample.ndim - 1)
    elif sample.min() < 0 or sample.max() > 255 or sample.max() <= 1:
        sample = np.nan_to_num(sample)
        low, high = float(sample.min()), float(sample.max())
        sample = (sample - low) * (255 / ((high - low) or 1.0))
    pixels = np.clip(np.rint(np.nan_to_num(sample)), 0, 255).astype(np.uint8)
    if channels < 3:
        return np.ascontiguousarray(pixels[..., 0])
    return np.ascontiguousarray(pixels[..., 2::-1] if colour == "RGB" else pixels[..., :3])


def _graph(plan: Plan, files: Sequence[FileResult]) -> DrawnGraph | None:
    """Of the file that was made last: usually that in integers."""
    made = [file for file in files if not file.error]
    if not made:
        return None
    profiles = [one for one in plan.targets if one.accelerator] or list(map(load, _ACCELERATORS))
    return draw_graph(
        read(made[-1].artifact.path), plan.file(made[-1].scheme).name, profiles=profiles
    )
