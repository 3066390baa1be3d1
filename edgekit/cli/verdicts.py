"""Exit codes of verdicts."""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.errors import GateFailed, NotProven
from edgekit.types import VerdictState


def exit_code_of(states: Iterable[VerdictState]) -> int:
    """With what a command ends whose files have these verdicts."""
    found = set(states)
    if "fail" in found:
        return GateFailed.exit_code
    return NotProven.exit_code if "not proven" in found else 0
