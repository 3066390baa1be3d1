"""What a user is told of a source that is quantized; any framework's worker can use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np


def it_is_quantized(operators: Mapping[str, int]) -> str:
    """The note; ``operators`` says how often each occurs that knows scales."""
    found = ", ".join(f"{count} {kind}" for kind, count in sorted(operators.items()))
    return (
        f"The model is quantized ({found}). All files are made of its float form and compared with "
        "that: its weights exactly as they are stored, its activations without their rounding. The "
        "float model that it was made from gives better int8 files"
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
