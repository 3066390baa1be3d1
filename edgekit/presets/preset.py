"""The form that all notes are read into."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from edgekit.contract import Decoder, Task, check_preprocess, decoder_from_table
from edgekit.errors import UsageError
from edgekit.files import shown


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What a model's makers wrote down about it.

    Attributes:
        origin: where, in words: ``timm's pretrained_cfg``.
        preprocess: keys and values of `edgekit.contract.Preprocess`.
        fields: by the same keys, which field said so: ``crop_pct 0.875``.
        size: (channels, height, width) of the model's input in pixels, where it is known.
        task: what the first output means.
        labels: names of the classes, in the order of the scores.
        decoder: how the outputs become boxes.
        unknown: what it says that a contract has no words for, as sentences.
    """

    origin: str
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    size: tuple[int, int, int] | None = None
    task: Task | None = None
    labels: tuple[str, ...] = ()
    decoder: Decoder | None = None
    unknown: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Preset:
        """A preset as a lock has it.

        Raises:
            UsageError, TypeError, ValueError: it is none.
        """
        values = dict(table)
        check_preprocess(values.get("preprocess", {}))
        if "decoder" in values:
            values["decoder"] = decoder_from_table(values["decoder"])
        for key in ("size", "labels", "unknown"):
            if key in values:
                values[key] = tuple(values[key])
        values["preprocess"] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values.get("preprocess", {}).items()
        }
        return cls(**values)

    def said_by(self, key: str) -> str:
        """Where the value of a key of ``preprocess`` comes from."""
        named = self.fields.get(key)
        return f"{self.origin}: {named}" if named else self.origin

    def for_size(self, height: int, width: int) -> Mapping[str, Any]:
        """``preprocess`` for a model that was built for another size, in the same proportions."""
        table = dict(self.preprocess)
        if self.size is None or (height, width) == self.size[1:]:
            return table
        factors = (height / self.size[1], width / self.size[2])
        for key in ("resize", "crop"):
            match table.get(key):
                case int(side):
                    table[key] = int(side * min(factors))
                case [int(tall), int(wide)]:
                    table[key] = (int(tall * factors[0]), int(wide * factors[1]))
        return table


_Reader = TypeVar("_Reader", bound=Callable[..., Preset | None])


def total(origin: str) -> Callable[[_Reader], _Reader]:
    """Makes a reader of notes total: what has another form than it should is named, not raised.

    What the notes lack, the user can state; so they are unknown, and no error.
    """

    def decorate(reader: _Reader) -> _Reader:
        @functools.wraps(reader)
        def read(*notes: Any, **more: Any) -> Preset | None:
            try:
                return _sound(reader(*notes, **more))
            except (
                ArithmeticError,
                AttributeError,  # a list where a table belongs, say
                LookupError,
                RecursionError,
                TypeError,
                ValueError,
            ) as error:
                why = f"something in it has no form that is known ({shown(str(error))[:100]})"
                return Preset(origin=origin, unknown=(why,))

        return cast(_Reader, read)

    return decorate


def _sound(preset: Preset | None) -> Preset | None:
    """A preset whose numbers a contract can have.

    Raises:
        ValueError: a size is none, or a value is not a finite number.
    """
    if preset is None or preset.unknown:
        return preset
    try:
        check_preprocess(preset.preprocess)
    except UsageError as error:
        raise ValueError(error.cause) from error
    if preset.size is not None and min(preset.size) < 1:
        raise ValueError(f"a size of {preset.size}")
    return preset


def per_channel(value: object) -> tuple[float, ...] | None:
    """One number, or one for each channel; ``None`` where it is neither."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    numbers: Sequence[Any] = value if several else [value]  # type: ignore[assignment]
    if not numbers or not all(type(one) in (int, float) for one in numbers):
        return None
    return tuple(float(one) for one in numbers)


def pixels(value: object) -> int | None:
    """A number of pixels; ``None`` where it is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and value > 0 else None
