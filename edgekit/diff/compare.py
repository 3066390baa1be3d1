"""Two files beside each other."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from edgekit.diff.align import align
from edgekit.diff.findings import (
    Change,
    Diff,
    OperatorChange,
    RangeChange,
    Side,
    TensorChange,
    WeightChange,
)
from edgekit.diff.layers import LayerPair, layers_of
from edgekit.diff.values import bit_equal, compare_constants, is_plain, plain_text, shape_text
from edgekit.tflite.graph import Subgraph, Tensor
from edgekit.tflite.metadata import CONTRACT_ENTRY
from edgekit.tflite.model import Model, read
from edgekit.tflite.summary import summarize


def diff(before: Path, after: Path) -> Diff:
    """What changed from one file to the other; neither is run.

    Raises:
        UsageError: there is no such file.
        ModelError: one is not a `.tflite`, or is damaged.
    """
    mine, theirs = read(before), read(after)
    found = _Found()
    for number, (graph, other) in enumerate(zip_longest(mine.subgraphs, theirs.subgraphs)):
        _compare_graphs(number, graph, other, found)
    return Diff(
        before=_side(before),
        after=_side(after),
        matched=found.matched,
        equal_constants=found.equal_constants,
        operators=tuple(found.operators),
        tensors=tuple(found.tensors),
        weights=tuple(sorted(found.weights, key=_damage)),
        ranges=tuple(sorted(found.ranges, key=_widening)),
        contract=tuple(_changes(_contract(mine), _contract(theirs))),
        metadata=tuple(_changes(_metadata(mine), _metadata(theirs))),
    )


@dataclass
class _Found:
    """What was found so far."""

    matched: int = 0
    equal_constants: int = 0
    operators: list[OperatorChange] = field(default_factory=list)
    tensors: list[TensorChange] = field(default_factory=list)
    weights: list[WeightChange] = field(default_factory=list)
    ranges: list[RangeChange] = field(default_factory=list)


def _compare_graphs(
    number: int, before: Subgraph | None, after: Subgraph | None, found: _Found
) -> None:
    old = layers_of(before) if before is not None else []
    new = layers_of(after) if after is not None else []
    pairs = align(old, new)
    found.matched += len(pairs)
    if before is not None and after is not None:
        for kind in ("input", "output"):
            _ports(kind, getattr(before, f"{kind}s"), getattr(after, f"{kind}s"), found)
    wires = _wires(before, after, old, new, pairs)
    for a, b in sorted(pairs.items(), key=lambda pair: pair[1]):
        _compare_layers(number, old[a], new[b], wires, found)
    back = set(pairs.values())
    found.operators += [
        _single("removed", number, one) for p, one in enumerate(old) if p not in pairs
    ]
    found.operators += [_single("added", number, one) for p, one in enumerate(new) if p not in back]


def _single(kind: Any, number: int, layer: LayerPair) -> OperatorChange:
    return OperatorChange(
        kind=kind, operator=layer.kind, name=layer.name, subgraph=number, index=layer.index
    )


@dataclass(frozen=True)
class _Wires:
    """The same number for the same tensor of both files; constants have none."""

    before: Mapping[int, int]
    after: Mapping[int, int]


def _wires(
    before: Subgraph | None,
    after: Subgraph | None,
    old: Sequence[LayerPair],
    new: Sequence[LayerPair],
    pairs: Mapping[int, int],
) -> _Wires:
    mine: dict[int, int] = {}
    theirs: dict[int, int] = {}
    ends = zip(before.inputs, after.inputs, strict=False) if before and after else ()
    outputs = (
        pair
        for a, b in pairs.items()
        for pair in zip(old[a].operator.outputs, new[b].operator.outputs, strict=False)
    )
    for number, (one, other) in enumerate((*ends, *outputs)):
        mine[one.index], theirs[other.index] = number, number
    return _Wires(mine, theirs)


def _compare_layers(
    number: int, old: LayerPair, new: LayerPair, wires: _Wires, found: _Found
) -> None:
    changes = list(_changes(_facts(old), _facts(new)))
    for place, (before, after) in enumerate(zip_longest(old.inputs, new.inputs)):
        changes += _compare_inputs(place, before, after, new, wires, found)
    if changes:
        found.operators.append(
            OperatorChange(
                kind="changed",
                operator=new.kind,
                name=new.name,
                subgraph=number,
                index=new.index,
                changes=tuple(changes),
            )
        )
    for before, after in zip(old.operator.outputs, new.operator.outputs, strict=False):
        _tensor(after.name, before, after, found)
        _range(new.kind, before, after, found)


def _compare_inputs(
    place: int,
    before: Tensor | None,
    after: Tensor | None,
    layer: LayerPair,
    wires: _Wires,
    found: _Found,
) -> Iterator[Change]:
    """A constant's change goes to the weights, unless it is a shape or the like."""
    what = f"input {place}"
    if before is None or after is None or before.is_constant != after.is_constant:
        if before is not None or after is not None:
            yield Change(what=what, before=_input_text(before), after=_input_text(after))
        return
    if not before.is_constant:
        if wires.before.get(before.index, -1) != wires.after.get(after.index, -2):
            yield Change(what=what, before=before.name, after=after.name)
    elif bit_equal(before, after):
        found.equal_constants += 1
    elif is_plain(before) and is_plain(after):
        yield Change(what=what, before=plain_text(before), after=plain_text(after))
    else:
        found.weights.append(compare_constants(layer, before, after))


def _input_text(tensor: Tensor | None) -> str:
    if tensor is None:
        return ""
    return f"constant {tensor.name}" if tensor.is_constant else tensor.name


def _facts(layer: LayerPair) -> dict[str, str]:
    """Type, version and options of an operator."""
    operator = layer.operator
    options = {} if operator.options is None else vars(operator.options)
    custom = operator.raw.customOptions
    facts = {"type": layer.kind, "version": str(operator.version)}
    facts |= {f"option {name}": _option(value) for name, value in sorted(options.items())}
    if custom is not None and len(custom):
        facts["custom options"] = _blob(bytes(custom))
    return facts


def _option(value: Any) -> str:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if hasattr(value, "__dict__"):  # a table inside of the table; its own text is an address
        value = {name: _option(part) for name, part in vars(value).items()}
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _ports(kind: str, before: Sequence[Tensor], after: Sequence[Tensor], found: _Found) -> None:
    """The inputs or outputs of the graph, by their place: that is how an app meets them."""
    for number, (old, new) in enumerate(zip_longest(before, after)):
        if old is None or new is None:
            change = Change(
                what=kind, before=old.name if old else "", after=new.name if new else ""
            )
            found.tensors.append(TensorChange(name=f"{kind} {number}", changes=(change,)))
            continue
        if old.name != new.name:
            change = Change(what="name", before=old.name, after=new.name)
            found.tensors.append(TensorChange(name=f"{kind} {number}", changes=(change,)))
        if kind == "input":  # outputs are compared where they are computed
            _tensor(new.name, old, new, found)
            _range("input", old, new, found)


def _tensor(name: str, before: Tensor, after: Tensor, found: _Found) -> None:
    facts = [
        {"shape": shape_text(tensor.shape_signature), "type": tensor.dtype}
        for tensor in (before, after)
    ]
    if changes := tuple(_changes(*facts)):
        found.tensors.append(TensorChange(name=name, changes=changes))


def _range(operator: str, before: Tensor, after: Tensor, found: _Found) -> None:
    old, new = before.quantization, after.quantization
    if old == new:
        return
    a, b = (one.scales[0] if one else None for one in (old, new))
    found.ranges.append(
        RangeChange(
            tensor=after.name,
            operator=operator,
            scale_before=a,
            scale_after=b,
            percent=(b / a - 1) * 100 if a and b is not None else None,
            zero_before=old.zero_points[0] if old else None,
            zero_after=new.zero_points[0] if new else None,
        )
    )


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Change]:
    for what in dict.fromkeys((*before, *after)):
        old, new = before.get(what, ""), after.get(what, "")
        if old != new:
            yield Change(what=what, before=old, after=new)


def _contract(model: Model) -> dict[str, str]:
    """The embedded contract as dotted keys; what is not JSON as one digest."""
    stored = model.metadata.get(CONTRACT_ENTRY)
    if stored is None:
        return {}
    try:
        return dict(_dotted(json.loads(stored), ""))
    except (ValueError, RecursionError):
        return {"contract": _blob(stored)}


def _dotted(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _dotted(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        for number, part in enumerate(value):
            yield from _dotted(part, f"{path}[{number}]")
    else:
        yield path, json.dumps(value, ensure_ascii=False)


def _metadata(model: Model) -> dict[str, str]:
    found = {name: _blob(value) for name, value in model.metadata.items() if name != CONTRACT_ENTRY}
    found["description"] = model.description
    if model.tail:
        found["files behind the graph"] = _blob(model.tail)
    for number, signature in enumerate(model.raw.signatureDefs or ()):
        key = signature.signatureKey or b""
        names = [
            f"{(one.name or b'').decode(errors='replace')}={one.tensorIndex}"
            for one in (*(signature.inputs or ()), *(signature.outputs or ()))
        ]
        found[f"signature {number}"] = f"{key.decode(errors='replace')}({', '.join(names)})"
    return found


def _blob(data: bytes) -> str:
    """Short text as it is, everything else as its size and digest."""
    text = data.rstrip(b"\0")
    if len(text) <= 32 and text.isascii() and text.decode("ascii").isprintable():
        return text.decode("ascii")
    return f"{len(data):,} bytes, {hashlib.sha256(data).hexdigest()[:12]}"


def _side(path: Path) -> Side:
    summary = summarize(path)
    return Side(
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=summary.size_bytes,
        weights_bytes=summary.sizes.weights,
        structure_bytes=summary.sizes.structure,
        metadata_bytes=summary.sizes.metadata,
        operators=sum(op.count for op in summary.ops),
        parameters=summary.parameters,
    )


def _damage(change: WeightChange) -> tuple[float, float]:
    """The most changed first; what cannot be compared before all."""
    if change.relative_l2 is None:
        return -math.inf, 0.0
    return -change.relative_l2, -(change.max_abs or 0.0)


def _widening(change: RangeChange) -> float:
    if change.percent is None:
        return -math.inf
    return -abs(change.percent)
