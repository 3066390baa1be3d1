"""What a check says about a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal[
    "load",
    "flex",
    "custom",
    "wrong",
    "integer",
    "io",
    "size",
    "memory",
    "accelerator",
    "parts",
    "unknown",
]
Severity: TypeAlias = Literal["violation", "warning", "note"]
Basis: TypeAlias = Literal["predicted", "compiled"]
"""What is said comes from a profile, or from the accelerator's own compiler."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that does not fit, or that is not known.

    Attributes:
        kind: what it is about; ``load``, ``flex`` and ``custom`` mean that the file does not load,
            ``wrong`` that it loads and computes something else.
        severity: a violation makes the file unfit; a warning says that it becomes slower or may
            not fit; a note is for the reader.
        message: a sentence.
        cure: what to change; empty where there is nothing.
        operators: the first outputs of the operators that it is about.
        basis: where it comes from.
    """

    kind: Kind
    severity: Severity
    message: str
    cure: str = ""
    operators: tuple[str, ...] = ()
    basis: Basis = "predicted"
