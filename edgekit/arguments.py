"""Arguments at the door: what Python passes is checked before anything is loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)
from typing import get_type_hints as type_hints

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyPath: TypeAlias = str | os.PathLike[str]
_Word = TypeVar("_Word", bound=str)


def nearest(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'classification'?``, or all that is known: a whole sentence."""
    words = [str(one) for one in known]
    near = difflib.get_close_matches(word, words, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"One of: {', '.join(words)}."


def check_arguments(request: DataclassInstance) -> None:
    """Hold the fields of a request against their types: words, numbers, lists and paths.

    Raises:
        UsageError: one has another type, or is a word that is not known; it names the nearest.
    """
    hints = type_hints(type(request))
    for field in fields(request):
        _check(field, hints[field.name], getattr(request, field.name))


def check_options(function: Callable[..., object], options: Mapping[str, object]) -> None:
    """Hold options against a function's keywords, and words against those that it knows.

    Raises:
        UsageError: there is no such option, or it has no such word; it names the nearest.
    """
    hints = type_hints(function)
    for name, value in options.items():
        if name not in hints:
            raise UsageError(
                f"{function.__name__} has no option {name}.",
                cure=nearest(name, (one for one in hints if one != "return")),
            )
        hint = hints[name]
        several = get_origin(hint) is Sequence
        parts = get_args(hint) if several or get_origin(hint) in (Union, UnionType) else (hint,)
        words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
        given = listed(cast(Any, value)) if several else (value,)
        for one in given if words else ():
            if one is not None or several:
                _check_word(name, one, words)


def _check(field: Field[Any], hint: Any, value: Any) -> None:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in options:
        return
    for option in options:
        if get_origin(option) is Literal:
            _check_word(field.name, value, get_args(option))
            return
        if get_origin(option) is tuple:
            _check_items(field.name, get_args(option)[0], value)
            return
    plain = tuple(_NUMBERS.get(one, one) for one in options if isinstance(one, type))
    if plain and len(plain) == len(options) and not isinstance(value, plain):
        wanted = " or ".join(one.__name__ for one in options if one is not NoneType)
        raise UsageError(
            f"{field.name} is a {type(value).__name__}: {value!r}.", cure=f"Give a {wanted}."
        )


_NUMBERS: dict[type, Any] = {float: float | int, bytes: bytes}


def _check_items(name: str, kind: Any, value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise UsageError(f"{name} is {value!r}.", cure=f"Give a list: {name}=[{value!r}]")
    for item in value:
        if get_origin(kind) is Literal:
            _check_word(name, item, get_args(kind))
        elif isinstance(kind, type) and not isinstance(item, kind):
            raise UsageError(
                f"{name} holds a {type(item).__name__}: {item!r}.",
                cure=f"Give a list of {kind.__name__}.",
            )


def _check_word(name: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise UsageError(
            f"{name} is {value!r}, which is not known.", cure=nearest(str(value), map(str, known))
        )


def listed(value: Iterable[_Word]) -> tuple[_Word, ...]:
    """A list of words as a tuple; one word alone is a list of one."""
    return (cast(_Word, value),) if isinstance(value, str) else tuple(value)


def is_path(value: object) -> bool:
    """Whether a value names a file or folder, and is not an object to be written to one."""
    return isinstance(value, str | os.PathLike)


def location(value: object, what: str) -> str:
    """A path or name as text.

    Raises:
        UsageError: it is an object of another kind.
    """
    if isinstance(value, str | os.PathLike):  # `is_path`, which mypy cannot follow
        return os.fspath(value)
    raise UsageError(
        f"The {what} is a {type(value).__name__}, and not a path.",
        cure="Name a file or folder, or a PyTorch model by the function that builds it: "
        "'package.module:factory'."
        if what in ("model", "reference")
        else "Save it as a file (np.savez, pictures in a folder) and give its path.",
    )


def path(value: object, what: str) -> Path | None:
    """A path, where one was given.

    Raises:
        UsageError: it is an object of another kind.
    """
    return None if value is None else Path(location(value, what))
