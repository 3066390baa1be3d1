"""What the user asked ``edgekit explain`` for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.toolchain.workshop import Limits
from edgekit.types import TensorSpec


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What the user asked for.

    Attributes:
        candidate: the `.tflite` to explain.
        reference: a model as ``edgekit convert`` takes it, or a float `.tflite`; may be empty
            where a device is named.
        data: inputs that the model really sees.
        floating: the float `.tflite` between a framework's model and the candidate; made anew by a
            conversion where it is not given.
        samples: at most so many.
        inputs, preprocess, config, weights, trust_pickle: about the reference, as in `convert`.
            The candidate is given what its own contract says.
        address, runtime: where the candidate also runs, as in `validate`.
    """

    candidate: Path
    reference: str
    data: Path
    floating: Path | None = None
    samples: int = 8
    seed: int = 0
    inputs: tuple[TensorSpec, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None
    weights: Path | None = None
    trust_pickle: bool = False
    address: str = "local"
    runtime: str | None = None
    limits: Limits = field(default_factory=Limits)
