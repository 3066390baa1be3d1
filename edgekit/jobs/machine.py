"""Where a job runs, in the words of the lineage."""

from __future__ import annotations

import platform
from functools import cache

from edgekit.toolchain.machine import cpu_name
from edgekit.toolchain.workshop import versions
from edgekit.version import __version__

_LIBRARIES = (
    "ai-edge-litert",
    "litert-quantizer",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "torch",
    "onnx",
    "tensorflow-cpu",
    "keras",
)


@cache
def this_machine() -> dict[str, str]:
    """System, processor, and versions of what has a part in results; nothing is imported."""
    found = {
        "host": platform.node(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": cpu_name(),
        "python": platform.python_version(),
        "edgekit": __version__,
    }
    return found | versions(_LIBRARIES)
