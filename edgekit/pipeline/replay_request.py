"""The request inside a lock: as a command for people, and back to what the pipeline takes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgekit.contract import check_preprocess
from edgekit.errors import EdgekitError, UsageError
from edgekit.objects import ObjectOrigin
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.request import ConversionRequest, Setting
from edgekit.presets import Preset
from edgekit.provenance.lock import Lock
from edgekit.results import KeptLayer
from edgekit.toolchain.workshop import Limits
from edgekit.types import TensorSpec

PATHS = ("model", "weights", "config", "labels", "calibration", "parity")
"""Fields of the request that are paths: a lock has them as inputs, with their digests."""
NOT_IN_TABLE = frozenset({*PATHS, "output", "force", "settled", "origin"})
_FLAGS = {
    "schemes": "--scheme",
    "inputs": "--input",
    "gates": "--gate",
    "targets": "--target",
    "seconds": "--step-timeout",
    "memory_gb": "--step-memory",
}


def as_command(plan: Plan) -> str:
    """``edgekit convert`` with every option that is not at its default, for people to read.

    What was an object in Python stands there by its name.
    """
    request, given = plan.request, ConversionRequest()
    if request.preset is not None:  # as options, since a command has no object to read it from
        stated = {**request.preset.preprocess, **request.preprocess}
        request = replace(request, preset=None, preprocess=stated)
    origin = request.origin or ObjectOrigin()
    words = ["edgekit", "convert", origin.what or plan.source.location]
    for field in fields(request):
        value = getattr(request, field.name)
        if field.name in ("model", "output", "force", "settled", "origin") or value == getattr(
            given, field.name
        ):
            continue
        words += _words(field.name, origin.data.get(field.name, value))
    return shlex.join(words)


def _words(name: str, value: Any) -> Iterator[str]:
    """An option as it is typed; tables have an option for each key, lists one for each part."""
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    match value:
        case None:
            return
        case True:
            yield flag
        case False:  # it is on by default
            yield f"--no-{flag.removeprefix('--')}"
        case Limits():
            for key, part in vars(value).items():
                yield from _words(key, part)
        case Mapping():
            for key, part in value.items():
                yield from _words(key, part if isinstance(part, bool) else _numbers(key, part))
        case tuple():
            for part in value:
                yield from (flag, _input(part) if isinstance(part, TensorSpec) else str(part))
        case _:
            yield from (flag, str(value))


def _numbers(key: str, value: Any) -> str:
    """``--resize 256x224``, ``--mean 0.5,0.5,0.5``."""
    if isinstance(value, list | tuple):
        return ("x" if key in ("resize", "crop") else ",").join(map(str, value))
    return str(value)


def _input(spec: TensorSpec) -> str:
    opened = ["?" * (axis in spec.resizable) for axis in range(len(spec.shape))]
    shape = "x".join(f"{n}{mark}" for n, mark in zip(spec.shape, opened, strict=True))
    return ":".join(filter(None, (spec.name, shape, spec.dtype, spec.layout)))


def to_request(lock: Lock, places: Mapping[str, Path], **changes: Any) -> ConversionRequest:
    """The request that makes a lock's files again.

    Args:
        lock: the lock.
        places: where its inputs are, by role.
        changes: fields that a replay sets itself.

    Raises:
        UsageError: the lock's request makes no sense to this edgekit.
    """
    try:
        return ConversionRequest(**{**_values(lock, places), **changes})
    except EdgekitError as error:
        why = error.cause
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        why = str(error)
    raise UsageError(
        f"The request of the lock cannot be carried out: {why}",
        cure=f"It was written by edgekit {lock.edgekit}; take that version, or convert again.",
    )


def _values(lock: Lock, places: Mapping[str, Path]) -> dict[str, Any]:
    table = dict(lock.request)
    model, factory = table.pop("model", None), table.pop("factory", None)
    if model is None:
        prefix, colon, entry = str(table.pop("source", "")).partition(":")
        model = f"{prefix}{colon}{places['model']}{entry}"
        model += f":{factory}" if factory else ""
    elif str(model).rpartition(":")[0].endswith(".py") or ":" not in str(model):
        raise ValueError(f"model = {model!r} is a file, and has no digest")
    found = [name for name in PATHS[1:] if name in places]
    if not table.pop("parity_apart", False) and "parity" in found:
        found.remove("parity")
    values = {name: _value(name, value) for name, value in table.items()}
    values |= {"model": model, **{name: places[name] for name in found}}
    hints = get_type_hints(ConversionRequest)
    for name, value in values.items():
        if name not in hints or not _fits(value, hints[name]):
            raise ValueError(f"{name} = {value!r}")
    if (route := lock.settled.get("route")) is not None:
        values["route"] = str(route)
    if (rung := lock.settled.get("rung")) is not None:
        values["settled"] = _setting(rung)
    return values


def _value(name: str, value: Any) -> Any:
    match name:
        case "inputs":
            return tuple(map(_spec, value))
        case "preprocess":
            check_preprocess(value)  # raises where it makes no sense
            return {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        case "preset":
            return Preset.from_table(value)
        case "limits":
            folders = tuple(map(Path, value.get("allow_write", ())))
            return Limits(**{**value, "allow_write": folders})
    return tuple(value) if isinstance(value, list) else value


def _spec(table: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(None if size == "?" else int(size) for size in table["shape"])
    resizable = tuple(table.get("resizable", ()))
    return TensorSpec(**{**table, "shape": shape, "resizable": resizable})


def _setting(table: Mapping[str, Any]) -> Setting:
    kept = tuple(
        KeptLayer(
            name=str(layer["members"][0]),
            members=tuple(map(str, layer["members"])),
            precision=layer["precision"],
        )
        for layer in table["kept"]
    )
    return Setting(effort=table["effort"], ranges=str(table["ranges"]), kept=kept)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; what is made here (specs, limits) is right already."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in inside)
    if origin is Literal:
        return value in inside
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(part, inside[0]) for part in value)
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint if hint in (int, str, bool) else isinstance(value, origin or hint)
