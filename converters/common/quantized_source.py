"""What a user is told of a source that is quantized; any framework's worker can use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def it_is_quantized(operators: Mapping[str, int]) -> str:
    """The note; ``operators`` says how often each occurs that knows scales."""
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(operators.items()))
    return (
        f"The model is quantized ({found}). Float files are made of its float form and "
        "compared with that: its weights exactly as they are stored, its activations without their "
        "rounding"
    )


class Distance:
    """How far the float form of a model is from the model, over all outputs and samples."""

    def __init__(self) -> None:
        self._signal = self._noise = 0.0

    def add(self, float_form: Iterable[np.ndarray], model: Iterable[np.ndarray]) -> None:
        """Take in the outputs of one sample."""
        for real, given in zip(float_form, model, strict=True):
            self._signal += float(np.sum(np.square(real, dtype=np.float64)))
            difference = np.asarray(real, np.float64) - np.asarray(given, np.float64)
            self._noise += float(np.sum(difference**2))

    def notes(self) -> list[str]:
        """The note; none where nothing was taken in."""
        if not self._signal:
            return []
        ratio = 10 * np.log10(self._signal / self._noise) if self._noise else np.inf
        return [f"The quantized model itself is {ratio:.1f} dB from its float form"]


class ScalesAnswer:
    """The answer to the verb ``scales``: arrays in files, and what each was quantized with.

    ``tensors`` have a stack of the float form's values for the first samples, scale, zero point and
    the limits of the integers; ``weights`` real numbers and the scales of their channels;
    ``outputs`` are stacks of what the quantized model itself says, one for each output.
    """

    SAMPLES = 3
    """So many samples tell tensors apart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._values: dict[str, list[np.ndarray]] = {}
        self._tensors: dict[str, dict[str, Any]] = {}
        self._weights: list[dict[str, Any]] = []
        self._outputs: list[list[np.ndarray]] = []

    def activation(
        self, name: str, value: Any, scale: float, zero: int, limits: tuple[int, int]
    ) -> None:
        """A value on the next sample, and the limits of the integers that it became."""
        self._values.setdefault(name, []).append(np.asarray(value))
        self._tensors[name] = {
            "name": name,
            "scale": scale,
            "zero": zero,
            "low": limits[0],
            "high": limits[1],
        }

    def weight(self, values: np.ndarray, scales: np.ndarray) -> None:
        """A constant."""
        path = self._folder / f"weight_{len(self._weights)}.npy"
        np.save(path, values)
        self._weights.append({"path": str(path), "scales": np.ravel(scales).tolist()})

    def outputs(self, values: Sequence[Any]) -> None:
        """What the model says on the next sample."""
        self._outputs = self._outputs or [[] for _ in values]
        for stack, value in zip(self._outputs, values, strict=True):
            stack.append(np.asarray(value))

    def finish(self) -> dict[str, Any]:
        """Write the files; the verb's result."""
        for number, (name, values) in enumerate(self._values.items()):
            path = self._folder / f"tensor_{number}.npy"
            np.save(path, np.stack(values))
            self._tensors[name]["path"] = str(path)
        paths = []
        for number, values in enumerate(self._outputs):
            path = self._folder / f"said_{number}.npy"
            one_by_one = values[0].shape[:1] == (1,)
            np.save(path, np.concatenate(values) if one_by_one else np.stack(values))
            paths.append(str(path))
        tensors = list(self._tensors.values())
        return {"tensors": tensors, "weights": self._weights, "outputs": paths}
