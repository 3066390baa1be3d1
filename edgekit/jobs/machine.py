"""Where a job runs, in the words of the lineage."""

from __future__ import annotations

import hashlib
import platform
from functools import cache
from pathlib import Path

from edgekit.toolchain.converters import launcher
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


@cache
def code_digest() -> str:
    """What the code of edgekit and its converters is: jobs of one run are all done by the same."""
    total = hashlib.sha256()
    for root in (Path(__file__).parents[1], launcher().parent):
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".lock", ".toml"):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                total.update(f"{path.relative_to(root).as_posix()}\0{content}\0".encode())
    return total.hexdigest()
