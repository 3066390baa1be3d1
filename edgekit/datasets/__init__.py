"""Labelled data sets in the layouts that people have: `open_labelled` → `LabelledSample`."""

from edgekit.datasets.classes import class_numbers
from edgekit.datasets.open import find_layout, open_labelled
from edgekit.datasets.samples import (
    Label,
    LabelledData,
    LabelledSample,
    Layout,
    Mask,
)

__all__ = [
    "Label",
    "LabelledData",
    "LabelledSample",
    "Layout",
    "Mask",
    "class_numbers",
    "find_layout",
    "open_labelled",
]
