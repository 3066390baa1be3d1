"""``report.json`` of a validation: everything about it, with a versioned schema."""

from __future__ import annotations

import json

from edgekit.report.json import plain
from edgekit.validation_result import ValidationResult
from edgekit.version import __version__

SCHEMA = "edgekit-validation"
SCHEMA_VERSION = 1


def to_json(result: ValidationResult) -> str:
    """The result as JSON text: strict JSON, no NaN; paths as strings; floats to 6 digits."""
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "edgekit": __version__,
        "passed": result.passed,
        **plain(result),
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
