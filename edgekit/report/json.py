"""``edgekit-report.json``: everything about a run, with a versioned schema."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from edgekit.results import ConversionResult
from edgekit.toolchain.machine import cpu_name
from edgekit.version import __version__

SCHEMA = "edgekit-report"
SCHEMA_VERSION = 1


def to_json(result: ConversionResult) -> str:
    """The result as JSON text: strict JSON, no NaN; paths as strings; floats to 6 digits."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "edgekit": __version__,
        "host": {
            "system": platform.system(),
            "machine": platform.machine(),
            "python": platform.python_version(),
            "cpu": cpu_name(),
        },
        "passed": result.passed,
        **plain(result),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
