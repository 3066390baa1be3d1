"""edgekit: trained models to verified `.tflite` files.

>>> import edgekit
>>> result = edgekit.convert("model.onnx", calibration="photos/")  # doctest: +SKIP
>>> result.passed, result.files[0].artifact.path  # doctest: +SKIP
>>> result = edgekit.validate(
...     "model_int8.tflite", reference="model.onnx", data="photos/"
... )  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgekit.version import __version__

__all__ = ["__version__", "convert", "make_module", "record_reference", "validate"]

if TYPE_CHECKING:
    from edgekit.api import convert, make_module, record_reference, validate


def __getattr__(name: str) -> object:
    """Import the API when it is used: ``edgekit --help`` needs none of it (PEP 562)."""
    if name in ("convert", "make_module", "record_reference", "validate"):
        return getattr(import_module("edgekit.api"), name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
