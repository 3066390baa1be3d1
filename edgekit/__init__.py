"""edgekit: trained models to verified `.tflite` files.

>>> import edgekit
>>> result = edgekit.convert(net, calibration=loader)  # doctest: +SKIP
>>> result.passed, result.files[0].artifact.path  # doctest: +SKIP
>>> edgekit.validate(
...     "net_tflite/net_int8.tflite", reference=net, data=test_loader
... )  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgekit.version import __version__

_NAMES = {
    "benchmark": "edgekit.api",
    "compat": "edgekit.compat",
    "compile": "edgekit.api",
    "convert": "edgekit.api",
    "diff": "edgekit.diff",
    "embed": "edgekit.embed",
    "explain": "edgekit.api",
    "inspect": "edgekit.api",
    "quantize": "edgekit.quantize",
    "record_reference": "edgekit.api",
    "replay": "edgekit.api",
    "sensitivity": "edgekit.api",
    "sweep": "edgekit.sweep",
    "validate": "edgekit.api",
    "verify": "edgekit.api",
    "CandidateResult": "edgekit.validation_result",
    "ConversionResult": "edgekit.results",
    "EdgekitError": "edgekit.errors",
    "FileResult": "edgekit.results",
    "Limits": "edgekit.toolchain.workshop",
    "Preprocess": "edgekit.contract",
    "Progress": "edgekit.types",
    "SweepResult": "edgekit.sweep.result",
    "TensorSpec": "edgekit.types",
    "ValidationResult": "edgekit.validation_result",
}
"""The public names, and where each of them is."""

if TYPE_CHECKING:
    from edgekit.api import (
        benchmark,
        compat,
        compile,  # noqa: A004  the command's name
        convert,
        diff,
        embed,
        explain,
        inspect,
        quantize,
        record_reference,
        replay,
        sensitivity,
        sweep,
        validate,
        verify,
    )
    from edgekit.contract import Preprocess
    from edgekit.errors import EdgekitError
    from edgekit.results import ConversionResult, FileResult
    from edgekit.sweep.result import SweepResult
    from edgekit.toolchain.workshop import Limits
    from edgekit.types import Progress, TensorSpec
    from edgekit.validation_result import CandidateResult, ValidationResult

__all__ = [
    "CandidateResult",
    "ConversionResult",
    "EdgekitError",
    "FileResult",
    "Limits",
    "Preprocess",
    "Progress",
    "SweepResult",
    "TensorSpec",
    "ValidationResult",
    "__version__",
    "benchmark",
    "compat",
    "compile",
    "convert",
    "diff",
    "embed",
    "explain",
    "inspect",
    "quantize",
    "record_reference",
    "replay",
    "sensitivity",
    "sweep",
    "validate",
    "verify",
]


def __getattr__(name: str) -> object:
    """Import a name when it is used: ``edgekit --help`` needs none of them (PEP 562)."""
    if name not in _NAMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    module = import_module(_NAMES[name])
    return module if module.__name__ == f"edgekit.{name}" else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
