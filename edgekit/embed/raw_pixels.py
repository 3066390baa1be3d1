"""A copy of the file that normalises by itself, and the proof that it computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.closeness import centred_db, channel_axis
from edgekit.contract import Color, Contract, image_axes
from edgekit.errors import ConversionError, UsageError
from edgekit.pipeline.raw_pixels import raw_input
from edgekit.raw_pixels.fold import fold
from edgekit.raw_pixels.normalization import Normalization
from edgekit.standard_metadata.embed import embed_standard_metadata
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import read, write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_EQUAL_DB = 60.0
"""What `edgekit convert` asks of a float file, unless something else is stated."""


def fold_file(
    path: Path, contract: Contract, fed: Color, folder: Path
) -> tuple[Path, Contract, str]:
    """Write a copy of a file that takes raw pixels, with the contract and metadata that say so.

    Args:
        path: a float `.tflite`.
        contract: of it; its first input is a picture.
        fed: the colours that the app will feed.
        folder: where the copy goes, under the same name.

    Returns:
        The copy, its contract, and what was done, in words.

    Raises:
        UsageError: the input is not a picture in float.
    """
    model = read(path)
    entry, tensor = contract.inputs[0], model.main.inputs[0]
    axes = image_axes(entry.tensor)
    if entry.preprocess is None or axes is None:
        raise UsageError(
            f"Input {entry.tensor.name} of {path.name} is not a picture whose preprocessing is "
            "known.",
            cure="Leave out --fold-preprocess.",
        )
    if tensor.dtype != "float32":
        raise UsageError(
            f"{path.name} takes {tensor.dtype}: a normalisation is folded into a float file, "
            "before that is quantized.",
            cure="Fold the float file and quantize it: edgekit convert FLOAT.tflite "
            "--fold-preprocess --scheme int8 --io-dtype uint8.",
        )
    channels = entry.tensor.shape[axes[2]] or 0
    done = fold(model, 0, Normalization.of(entry.preprocess, channels, fed), axes[2])
    folded = replace(contract, inputs=(raw_input(entry, fed), *contract.inputs[1:]))
    copy = folder / path.name
    write(model, copy)
    embed_contract(copy, copy, folded)
    embed_standard_metadata(copy, copy, folded, name=path.stem)
    return copy, folded, str(done)


def require_equal(
    path: Path, wanted: Sequence[tuple[Array, ...]], found: Sequence[tuple[Array, ...]]
) -> str:
    """Hold the copy's outputs against those of the file that it was made of.

    Returns:
        How close they are, in words.

    Raises:
        ConversionError: folding changed what the model computes.
    """
    import numpy as np

    worst = min(
        centred_db(np.stack(before), np.stack(after), channel_axis(before[0].shape))
        for before, after in zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True)
    )
    if worst < _EQUAL_DB:
        raise ConversionError(
            f"{path.name} with its normalisation folded in does not equal {path.name}: "
            f"{worst:.1f} dB in the worst output, over {len(wanted)} samples; required: "
            f"{_EQUAL_DB:g} dB.",
            cure="Leave out --fold-preprocess, or check scale, mean and std.",
        )
    return f"On {len(wanted)} samples it equals {path.name}: {worst:.0f} dB in the worst output."
