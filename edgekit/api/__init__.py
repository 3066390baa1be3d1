"""The Python API: the commands without the terminal, with their names and options."""

from edgekit.api.conversion import convert, quantize
from edgekit.api.files import (
    compile,  # noqa: A004  the command's name
    diff,
    embed,
    inspect,
    replay,
    sensitivity,
    verify,
)
from edgekit.api.judging import benchmark, compat, explain, record_reference, validate
from edgekit.api.sweeping import sweep

__all__ = [
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
