"""Dataclasses as plain data, and back by their types: what one process tells another in a file."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def to_plain(value: Any) -> Any:
    """A value as JSON has it: dataclasses as tables, sequences and sets as lists, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: to_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(to_plain, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(part) for part in value]
    if isinstance(value, Path):
        return str(value)
    # NumPy's numbers and arrays have their own words for it.
    return value.tolist() if hasattr(value, "tolist") else value


def from_plain(kind: type[_T], value: Any) -> _T:
    """The inverse of `to_plain`, for dataclasses whose fields say what they are.

    Raises:
        TypeError, KeyError, ValueError: the data is not of this kind.
    """
    return cast(_T, _read(kind, value))


def _read(kind: Any, value: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return _read_one_of([one for one in parts if one is not type(None)], value)
    if is_dataclass(kind):
        hints = _hints(cast(Any, kind))
        _require(value, Mapping, kind)
        return cast(Any, kind)(**{name: _read(hints[name], part) for name, part in value.items()})
    if origin in (dict, Mapping):
        _require(value, Mapping, kind)
        return {name: _read(parts[1], part) for name, part in value.items()}
    if origin in (tuple, list, Sequence, frozenset):
        return _read_many(origin, parts, value)
    if kind in (str, Path):
        _require(value, str, kind)
    if kind in (int, float):
        _require(value, int if kind is int else int | float, kind)
    return kind(value) if kind is Path else value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def _read_one_of(kinds: list[Any], value: Any) -> Any:
    """As the first of the kinds that the value is of."""
    for one in kinds[:-1]:
        try:
            return _read(one, value)
        except (TypeError, KeyError, ValueError):
            continue
    return _read(kinds[-1], value)


def _read_many(origin: Any, parts: tuple[Any, ...], value: Any) -> Any:
    _require(value, Sequence, origin)
    if origin is tuple:
        inner = [parts[0]] * len(value) if parts[1:] == (...,) else parts
        return tuple(_read(one, part) for one, part in zip(inner, value, strict=True))
    made = [_read(parts[0], part) for part in value]
    return frozenset(made) if origin is frozenset else made


def _require(value: Any, wanted: Any, kind: Any) -> None:
    text = isinstance(value, str)
    if not isinstance(value, wanted) or (text and wanted is Sequence) or isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is not a {kind}")
