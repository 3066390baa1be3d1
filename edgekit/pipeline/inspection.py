"""What a model of any kind tells before it is converted, and what has to be stated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.pipeline.known import told_preset
from edgekit.presets import Preset
from edgekit.routes import find_routes, source_converter
from edgekit.sources import recognise
from edgekit.toolchain.converters import discover
from edgekit.toolchain.named_models import named_request
from edgekit.toolchain.workshop import Workshop
from edgekit.types import Progress, SilentProgress, TensorSpec


@dataclass(frozen=True, kw_only=True)
class SourceSummary:
    """A model as its framework describes it.

    Attributes:
        path: the model as it was named.
        kind: what it is, see `edgekit.types.SourceKind`.
        inputs, outputs: with ``None`` where a dimension is open.
        operators: how often each occurs (of ONNX, ATen), or each kind of layer.
        parameters: how many numbers it has learnt.
        format: of the file: its opset, the framework's version; empty where it has none.
        routes: the ways to a `.tflite`, in the order in which they are tried.
        needed: what ``edgekit convert`` has to be told, as options.
        notes: what else there is to know.
        preset: what its makers wrote down about feeding it.
    """

    path: str
    kind: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    parameters: int | None
    format: str
    routes: tuple[str, ...]
    needed: tuple[str, ...]
    notes: tuple[str, ...]
    preset: Preset | None = None


def inspect_source(
    location: str,
    *,
    weights: Path | None = None,
    inputs: tuple[TensorSpec, ...] = (),
    trust_pickle: bool = False,
    signature: str | None = None,
    progress: Progress | None = None,
) -> SourceSummary:
    """Load a model in its framework's worker, and tell what it is.

    Raises:
        EdgekitError: it cannot be loaded, or does not run on the stated inputs.
    """
    source = recognise(location, weights=weights, trust_pickle=trust_pickle, signature=signature)
    converters = discover()
    with Workshop(
        name=source.name, progress=progress or SilentProgress(), source=source
    ) as workshop:
        found, _ = workshop.call(
            source_converter(source.kind, converters),
            "describe",
            {
                "source": {
                    "location": source.location,
                    "kind": source.kind,
                    "weights": str(weights) if weights else None,
                    "trust_pickle": trust_pickle,
                    "signature": signature,
                    "as_float": True,
                    "named": named_request(source),
                },
                "inputs": [
                    {"name": s.name, "shape": list(s.shape), "dtype": s.dtype, "layout": s.layout}
                    for s in inputs
                ],
            },
            title=f"Loading {source.name}",
        )
    facts = found.get("facts", {})
    described = _specs(found["inputs"])
    return SourceSummary(
        path=location,
        kind=source.kind,
        inputs=described,
        outputs=_specs(found["outputs"]),
        operators=facts.get("operators", {}),
        parameters=facts.get("parameters"),
        format=facts.get("format", ""),
        routes=tuple(map(str, find_routes(source.kind, converters))),
        needed=tuple(filter(None, map(_to_state, described))),
        notes=tuple(found.get("notes", ())),
        preset=told_preset(found),
    )


def _to_state(spec: TensorSpec) -> str:
    """The option for an input with open dimensions; a batch alone needs none."""
    shape = (1, *spec.shape[1:]) if spec.shape[:1] == (None,) else spec.shape
    if None not in shape:
        return ""
    return f"--input {spec.name}:{'x'.join('?' if n is None else str(n) for n in shape)}"


def _specs(tables: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            name=table["name"],
            shape=tuple(table["shape"]),
            dtype=table["dtype"],
            layout=table.get("layout"),
        )
        for table in tables
    )
