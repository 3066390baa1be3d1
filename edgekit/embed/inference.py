"""Runs a file on inputs as it stores them, and gives its outputs as it stores them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.runners.litert import LITERT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgekit.embed.spec import Embedding
    from edgekit.toolchain.workshop import Workshop

    Array: TypeAlias = NDArray[Any]


def run(
    path: Path, spec: Embedding, tensors: Sequence[Array], workshop: Workshop
) -> list[tuple[Array, ...]]:
    """The outputs for each input, in the file's order.

    Raises:
        ConversionError: the runtime refuses the file or crashes on it.
    """
    import numpy as np

    tensor = spec.input.tensor
    quantization = tensor.quantization
    with TemporaryDirectory(dir=workshop.folder, prefix="embed-") as folder:
        stack = Path(folder) / "input.npy"
        np.save(stack, np.stack(tensors), allow_pickle=False)
        entry = {
            "path": str(stack),
            "shape": list(tensor.shape),
            "permutation": list(range(len(tensor.shape))),
            "scale": quantization.scale if quantization else 0.0,
            "zero_point": quantization.zero_point if quantization else 0,
        }
        answer, _ = workshop.call(
            LITERT,
            "intermediates",
            {"artifact": str(path), "inputs": [entry], "outputs_folder": folder},
            title=f"Running {path.stem} on {len(tensors)} samples",
        )
        # The worker tells inputs first, then the outputs in the file's order.
        stacks = [np.load(point["path"], allow_pickle=False) for point in answer["points"][1:]]
    return [tuple(one[number] for one in stacks) for number in range(len(tensors))]
