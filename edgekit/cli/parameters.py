"""What options may be: numbers that are finite and bounded, shares, sizes, paths that can exist."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

from edgekit.files import is_name, shown

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
_LONGEST = 40


class Number(click.ParamType[float]):
    """A finite number: ``0.5``, ``1e-3``, a fraction ``1/127.5``, and with ``share`` ``1%``.

    Args:
        low: the least value, itself taken unless ``above`` says so.
        high: the greatest value.
        share: ``%`` is read, and the value lies in 0…1.
        zero: whether zero is taken.
    """

    name = "number"

    def __init__(
        self,
        low: float = -1e30,
        high: float = 1e30,
        *,
        above: bool = False,
        share: bool = False,
        zero: bool = True,
    ) -> None:
        self._low, self._high = (0.0, 1.0) if share else (low, high)
        self._above, self._share, self._zero = above, share, zero

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The number.

        Raises:
            click.BadParameter: it is none, or out of bounds.
        """
        if isinstance(value, float):  # a default
            return value
        text = str(value).strip()
        hundred = 100 if self._share and text.endswith("%") else 1
        number = _fraction(text.removesuffix("%") if hundred > 1 else text) / hundred
        if math.isnan(number):
            example = "1% or 0.01" if self._share else "0.5, 1e-3 or 1/255"
            self.fail(f"{shown(text)!r} is not a finite number, such as {example}.", param, ctx)
        low_enough = number > self._low if self._above else number >= self._low
        if not low_enough or number > self._high:
            self.fail(f"{shown(text)} is not {self._range()}.", param, ctx)
        if number == 0 and not self._zero:
            self.fail(f"{shown(text)}: it must not be 0.", param, ctx)
        return number

    def _range(self) -> str:
        return f"{'above' if self._above else 'from'} {self._low:g} to {self._high:g}"


class Numbers(click.ParamType[tuple[float, ...]]):
    """Up to four numbers, one for each channel: ``0.485,0.456,0.406``."""

    name = "numbers"

    def __init__(self, *, zero: bool = True) -> None:
        self._one = Number(zero=zero)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers.

        Raises:
            click.BadParameter: one is none, or there are too many.
        """
        parts = str(value).split(",")
        if len(parts) > 4:
            self.fail(f"{shown(str(value))!r} has more values than a picture channels.", param, ctx)
        return tuple(self._one.convert(part, param, ctx) for part in parts)


class Levels(click.ParamType[tuple[int, ...]]):
    """Up to four grey levels, one for each channel: ``114`` or ``124,116,104``."""

    name = "levels"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The levels.

        Raises:
            click.BadParameter: one is not a whole number from 0 to 255, or there are too many.
        """
        parts = str(value).split(",")
        fits = all(re.fullmatch(r"\d{1,3}", one, re.ASCII) and int(one) <= 255 for one in parts)
        if not fits or len(parts) > 4:
            self.fail(f"{shown(str(value))!r}: give 0 to 255, or one for each channel.", param, ctx)
        return tuple(map(int, parts))


class Size(click.ParamType["int | tuple[int, int]"]):
    """Pixels, or HEIGHTxWIDTH; with ``pair`` one number stands for both."""

    name = "size"
    most = 1 << 14

    def __init__(self, *, pair: bool = False) -> None:
        self._pair = pair

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int]:
        """The size.

        Raises:
            click.BadParameter: it is none, or too large.
        """
        text = str(value).strip()
        if not re.fullmatch(r"\d{1,10}([x,]\d{1,10})?", text, re.ASCII):
            self.fail(f"{shown(text)!r} is not a size, such as 224 or 224x320.", param, ctx)
        sides = [int(part) for part in re.split("[x,]", text)]
        if not all(1 <= side <= self.most for side in sides):
            self.fail(f"{text}: a side has 1 to {self.most} pixels.", param, ctx)
        if len(sides) == 1 and not self._pair:
            return sides[0]
        return sides[0], sides[-1]


class PathName(click.Path):
    """A path that a file system can hold; whether something is there is told by who opens it.

    Args:
        folder: it has to be a folder that is there.
    """

    def __init__(self, *, folder: bool = False) -> None:
        super().__init__(path_type=Path, exists=folder, file_okay=not folder)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path.

        Raises:
            click.BadParameter: a name in it is longer than file systems take.
        """
        if not is_name(str(value)):
            self.fail(f"{shown(str(value))!r} is not a name that a file can have.", param, ctx)
        return super().convert(value, param, ctx)


def _fraction(text: str) -> float:
    """A number or the quotient of two; NaN where it is none, or not finite."""
    if len(text) > _LONGEST:
        return math.nan
    above, slash, below = text.partition("/")
    parts = [above.strip(), below.strip()] if slash else [above.strip()]
    if not all(map(_NUMBER.fullmatch, parts)):
        return math.nan
    values = list(map(float, parts))
    if not all(map(math.isfinite, values)) or (slash and values[1] == 0):
        return math.nan
    quotient = values[0] / values[1] if slash else values[0]
    return quotient if math.isfinite(quotient) else math.nan


PATH = PathName()
FOLDER = PathName(folder=True)
SEED = click.IntRange(0, (1 << 32) - 1)
THREADS = click.IntRange(1, 256)
COUNT = click.IntRange(1, 1_000_000_000)
SHARE = Number(share=True)
DECIBELS = Number(-300, 300)
SECONDS = Number(0, 1e7, above=True)
GIGABYTES = Number(0, 1e5, above=True)
