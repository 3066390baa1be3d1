"""Functions that take another one's options show them in `help` and completion."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def like(
    other: Callable[..., object], *, without: tuple[str, ...] = ()
) -> Callable[[Callable[_Given, _Result]], Callable[_Given, _Result]]:
    """Show ``**options`` of a function as what they are: the options of another one."""

    def decorate(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
        own = inspect.signature(function)
        mine = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        names = {one.name for one in mine} | set(without)
        theirs = inspect.signature(other)
        more = [
            one
            for one in theirs.parameters.values()
            if one.name not in names and one.kind is one.KEYWORD_ONLY
        ]
        function.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[*mine, *more], return_annotation=theirs.return_annotation
        )
        return function

    return decorate
