"""Profiles from TOML: by name or path, with ``extends``, strictly checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from edgekit.arguments import nearest
from edgekit.contract import only_known_keys
from edgekit.errors import UsageError
from edgekit.files import kind_of, read_toml, shown
from edgekit.targets.profile import (
    Accelerator,
    Profile,
    ProfileLimits,
    ProfileRuntime,
    ProfileSource,
    Refusal,
    Rule,
)

SHIPPED = Path(__file__).parent / "profiles"
"""The folder of the profiles that come with edgekit."""

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*")
_Check: TypeAlias = tuple[Callable[[Any], bool], str]


def names() -> tuple[str, ...]:
    """The profiles that come with edgekit."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


@cache
def _compiled_for() -> dict[str, str]:
    """The profile of each target that a compiler knows by another name: ethos-u55-128."""
    tables = {name: read_toml(SHIPPED / f"{name}.toml", UsageError) for name in names()}
    return {one: name for name, table in tables.items() for one in table.get("compiles", ())}


def load(target: str) -> Profile:
    """A profile by its name, or by the path of a TOML file.

    Raises:
        UsageError: there is none, or it cannot be understood.
    """
    if _is_path(target):
        path = Path(target)
        if kind_of(path) != "file":
            raise UsageError(f"There is no profile {shown(target)}.", cure="Check the path.")
    else:
        path = _shipped(target, asked_by="--target")
    found = _from_table(_narrowed(_merged(path, ()), target), path)
    return replace(found, name=target) if target in found.compiles else found


def _is_path(target: str) -> bool:
    return target.endswith(".toml") or "/" in target or "\\" in target


def _narrowed(table: dict[str, Any], name: str) -> dict[str, Any]:
    """The same profile for one of those that the compiler tells apart."""
    return {**table, "compiles": [name]} if name in table.get("compiles", ()) else table


def _shipped(name: str, *, asked_by: str) -> Path:
    path = SHIPPED / f"{_compiled_for().get(name, name)}.toml"
    if not _NAME.fullmatch(name) or kind_of(path) != "file":
        near = nearest(name, (*names(), *_compiled_for()))
        raise UsageError(
            f"{asked_by}: there is no target {name!r}.",
            cure=f"{near} Or give the path of a profile.toml.",
        )
    return path


def _merged(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The tables of a file over those that it extends.

    Raises:
        UsageError: a file cannot be read, extends itself, or one outside its folder.
    """
    path = path.resolve()
    if path in below:
        chain = " → ".join(one.name for one in (*below, path))
        raise UsageError(f"Profiles extend each other in a circle: {chain}.")
    table = read_toml(path, UsageError)
    extends = table.pop("extends", [])
    wanted = [extends] if isinstance(extends, str) else extends
    if not isinstance(wanted, list) or not all(isinstance(one, str) for one in wanted):
        raise UsageError(f"{path}: extends is {extends!r}; it must be a name or a list of names.")
    result: dict[str, Any] = {}
    for one in wanted:
        base = _merged(_extended(one, path), (*below, path))
        result = _over(result, _narrowed(base, one))
    inherited = [*result.pop("sources", []), *_list(table, "sources", path)]
    notes = [*result.pop("notes", []), *_list(table, "notes", path)]
    return {**_over(result, table), "sources": inherited, "notes": notes}


def _extended(name: str, path: Path) -> Path:
    """The file that ``extends`` names: one that edgekit ships, or one beside or below ``path``."""
    if not _is_path(name):
        return _shipped(name, asked_by=f"extends in {path}")
    found = (path.parent / name).resolve()
    if not found.is_relative_to(path.parent):
        raise UsageError(
            f"{path}: extends {name!r} lies outside its folder.",
            cure="Put the profile that is extended beside this one.",
        )
    if kind_of(found) != "file":
        raise UsageError(f"{path}: extends {name!r}, but there is no such file.")
    return found


def _list(table: Mapping[str, Any], key: str, path: Path) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise UsageError(f"{path}: {key} is {value!r}; it must be a list.")
    return value


def _over(base: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged key by key; any other value takes the place of the one below."""
    result = dict(base)
    for key, value in upper.items():
        under = result.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        result[key] = _over(under, value) if both and under is not None else value
    return result


_IS_TEXT: _Check = (lambda value: isinstance(value, str), "a text")
_IS_BOOL: _Check = (lambda value: isinstance(value, bool), "true or false")
_IS_COUNT: _Check = (lambda value: type(value) is int and value > 0, "a number from 1")
_IS_TEXTS: _Check = (
    lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "a list of texts",
)
_IS_COUNTS: _Check = (
    lambda value: isinstance(value, list) and all(type(one) is int and one > 0 for one in value),
    "a list of numbers from 1",
)
_IS_TABLE: _Check = (lambda value: isinstance(value, dict), "a table")
_IS_LIST: _Check = (
    lambda value: isinstance(value, list) and all(isinstance(one, dict) for one in value),
    "a list of tables",
)
_IS_SHARE: _Check = (
    lambda value: type(value) in (int, float) and 0 <= value <= 1,
    "a number from 0 to 1",
)
_IS_VERSION: _Check = (
    lambda value: isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)*", value) is not None,
    'a version such as "2.14.0"',
)

_TOP: dict[str, _Check] = {
    "summary": _IS_TEXT,
    "verified": _IS_BOOL,
    "sources": _IS_LIST,
    "notes": _IS_TEXTS,
    "compiles": _IS_TEXTS,
    "runtime": _IS_TABLE,
    "accelerator": _IS_TABLE,
    "limits": _IS_TABLE,
    "extends": _IS_TEXTS,  # taken out when files are merged; here for the list of known keys
}
_SOURCE = dict.fromkeys(("name", "says", "url"), _IS_TEXT)
_REFUSAL: dict[str, _Check] = {
    "op": _IS_TEXT,
    "inputs": _IS_TEXTS,
    "weights": _IS_TEXTS,
    "per_channel": _IS_BOOL,
    "blockwise": _IS_BOOL,
    "outputs": _IS_TEXTS,
    "wrong": _IS_BOOL,
    "says": _IS_TEXT,
}
_RUNTIME: dict[str, _Check] = {
    "name": _IS_TEXT,
    "operators": _IS_TABLE,
    "any_version": _IS_BOOL,
    "tensorflow_lite": _IS_VERSION,
    "types": _IS_TEXTS,
    "refuses": _IS_LIST,
    "custom": _IS_TEXTS,
    "flex": _IS_BOOL,
    "alignment": _IS_COUNT,
    "keeps_inputs": _IS_BOOL,
    "client": _IS_TEXT,
}
_RULE: dict[str, _Check] = {
    "types": _IS_TEXTS,
    "activations": _IS_TEXTS,
    "max_stride": _IS_COUNT,
    "max_rank": _IS_COUNT,
    "max_batch": _IS_COUNT,
    "max_reduced": _IS_COUNT,
    "lone_depth": _IS_BOOL,
    "last_axis": _IS_BOOL,
    "resize_factors": _IS_COUNTS,
    "half_pixel_factors": _IS_COUNTS,
    "one_factor": _IS_BOOL,
    "max_padded_kernel": _IS_COUNT,
    "one_quantization": _IS_BOOL,
    "max_area": _IS_COUNT,
    "plane_strides": _IS_BOOL,
    "wide_permutations": _IS_TEXTS,
    "whole_steps": _IS_BOOL,
    "axis_is_batch": _IS_BOOL,
    "constant_parameters": _IS_BOOL,
    "condition": _IS_TEXT,
}
_ACCELERATOR: dict[str, _Check] = {
    "name": _IS_TEXT,
    "operators": _IS_TEXTS,
    "rules": _IS_TABLE,
    "types": _IS_TEXTS,
    "max_rank": _IS_COUNT,
    "inner_dimensions": _IS_COUNT,
    "static_shapes": _IS_BOOL,
    "open_batch": _IS_BOOL,
    "complete": _IS_BOOL,
    "required": _IS_BOOL,
    "first_part_only": _IS_BOOL,
}
_LIMITS: dict[str, _Check] = {
    "integer_only": _IS_BOOL,
    "file_bytes": _IS_COUNT,
    "arena_bytes": _IS_COUNT,
    "inputs": _IS_TEXTS,
    "outputs": _IS_TEXTS,
    "refused_io": _IS_TEXTS,
    "accelerated_share": _IS_SHARE,
    "parts": _IS_COUNT,
}
_SETS = {
    "types",
    "custom",
    "activations",
    "operators",
    "resize_factors",
    "half_pixel_factors",
    "wide_permutations",
    "inputs",
    "outputs",
    "refused_io",
    "weights",
}


def _checked(table: Any, checks: Mapping[str, _Check], where: str, *needed: str) -> dict[str, Any]:
    """The table with lists of names as sets; its keys are known and its values fit.

    Raises:
        UsageError: they are not, or do not.
    """
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}; it must be a table.")
    only_known_keys(table, set(checks), where)
    for key in needed:
        if key not in table:
            raise UsageError(f"{where}: {key} is missing.")
    for key, value in table.items():
        holds, words = checks[key]
        if not holds(value):
            raise UsageError(f"{where}: {key} is {value!r}; it must be {words}.")
    return {
        key: frozenset(value) if key in _SETS and isinstance(value, list) else value
        for key, value in table.items()
    }


def _from_table(table: dict[str, Any], path: Path) -> Profile:
    top = _checked(table, _TOP, str(path), "summary")
    sources = [
        ProfileSource(**_checked(one, _SOURCE, f"[[sources]] of {path}", "name", "says"))
        for one in top["sources"]
    ]
    return Profile(
        name=path.stem,
        summary=top["summary"],
        verified=top.get("verified", False),
        sources=tuple(sources),
        notes=tuple(top["notes"]),
        compiles=tuple(top.get("compiles", ())),
        runtime=_runtime(top["runtime"], f"[runtime] of {path}") if "runtime" in top else None,
        accelerator=_accelerator(top["accelerator"], f"[accelerator] of {path}")
        if "accelerator" in top
        else None,
        limits=ProfileLimits(
            **_known_types(_checked(top.get("limits", {}), _LIMITS, f"[limits] of {path}"), path)
        ),
    )


def _runtime(table: Any, where: str) -> ProfileRuntime:
    checked = _known_types(_checked(table, _RUNTIME, where, "name"), where)
    refusals = [
        Refusal(**_known_types(_checked(one, _REFUSAL, f"refuses in {where}", "op"), where))
        for one in checked.pop("refuses", [])
    ]
    if "operators" in checked:
        checked["operators"] = {
            _operator(op, where): _versions(versions, f"{op} in {where}")
            for op, versions in checked["operators"].items()
        }
    return ProfileRuntime(**checked, refuses=tuple(refusals))


def _accelerator(table: Any, where: str) -> Accelerator:
    checked = _known_types(
        _checked(table, _ACCELERATOR, where, "name", "operators", "types"), where
    )
    for op in checked["operators"]:
        _operator(op, where)
    rules = {
        _operator(op, where): Rule(**_known_types(_checked(rule, _RULE, f"{op} in {where}"), where))
        for op, rule in checked.pop("rules", {}).items()
    }
    return Accelerator(**checked, rules=rules)


def _versions(value: Any, where: str) -> tuple[int, int]:
    if (
        isinstance(value, list)
        and len(value) == 2
        and all(type(one) is int for one in value)
        and 0 < value[0] <= value[1]
    ):
        return value[0], value[1]
    raise UsageError(f"{where} is {value!r}; it must be [FIRST, LAST] version, such as [1, 7].")


def _operator(name: str, where: str) -> str:
    if name not in _operators():
        raise UsageError(
            f"{where}: {name!r} is not an operator of the .tflite schema.",
            cure="Names are in capitals, such as CONV_2D; see: edgekit inspect FILE.tflite",
        )
    return name


@cache
def _operators() -> frozenset[str]:
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return frozenset(name for name in vars(BuiltinOperator) if name[0] != "_")


def _known_types(table: dict[str, Any], where: object) -> dict[str, Any]:
    """The same table, whose tensor types the schema knows."""
    from edgekit.tflite.dtypes import code_of

    for key in ("types", "inputs", "outputs", "refused_io", "weights"):
        for name in table.get(key, ()):
            try:
                code_of(name)
            except ValueError as error:
                raise UsageError(f"{where}: {key}: {error}.") from error
    return table
