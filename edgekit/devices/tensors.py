"""A model's tensors as a device describes them, and values on their way to and from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from edgekit.devices.agent.frames import DTYPES, BadFrame
from edgekit.devices.facts import printable
from edgekit.types import TensorSpec

if TYPE_CHECKING:
    from edgekit.runners.protocol import Array

_MOST_TENSORS = 1000
_MOST_ELEMENTS = 1 << 31


@dataclass(frozen=True, kw_only=True)
class DeviceTensor:
    """An input or output as the file stores it; ``scale`` 0 where it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float
    zero_point: int

    @classmethod
    def parse(cls, table: object) -> Self:
        """From an entry of the agent's answer.

        Raises:
            BadFrame: it is none.
        """
        if not isinstance(table, Mapping):
            raise BadFrame("a tensor that is not a table")
        shape, scale, zero_point = (table.get(key) for key in ("shape", "scale", "zero_point"))
        if not isinstance(shape, list) or not all(
            type(size) is int and size >= 0 for size in shape
        ):
            raise BadFrame("a tensor's shape")
        if math.prod(shape) > _MOST_ELEMENTS or table.get("dtype") not in DTYPES:
            raise BadFrame("a tensor of a type or size that cannot be")
        if not isinstance(scale, float) or not math.isfinite(scale) or type(zero_point) is not int:
            raise BadFrame("a tensor's quantization")
        return cls(
            name=printable(table.get("name")),
            shape=tuple(shape),
            dtype=table["dtype"],
            scale=scale,
            zero_point=zero_point,
        )

    @property
    def is_quantized(self) -> bool:
        """Whether stored integers stand for real values."""
        return self.scale != 0 and "int" in self.dtype

    @property
    def real_spec(self) -> TensorSpec:
        """As `edgekit.runners.protocol.Described` has it: quantized tensors are float32."""
        real = self.is_quantized or self.dtype == "float16"
        return TensorSpec(name=self.name, shape=self.shape, dtype="float32" if real else self.dtype)

    def store(self, values: Array) -> Array:
        """Real values as stored: ``q = round(r / scale) + zero_point``, saturated."""
        import numpy as np

        dtype = np.dtype(self.dtype)
        if self.is_quantized:
            limits = np.iinfo(dtype)
            values = np.asarray(values / self.scale)
            np.rint(values, out=values)
            values += self.zero_point
            np.clip(values, limits.min, limits.max, out=values)
        return np.asarray(values, dtype, order="C")

    def real(self, values: Array) -> Array:
        """Stored values as real ones in float32; whole numbers without a scale stay whole."""
        import numpy as np

        if self.is_quantized:
            return (values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(
                self.scale
            )
        return values.astype(np.float32) if values.dtype.kind == "f" else values


def parse_tensors(tables: object) -> tuple[DeviceTensor, ...]:
    """All tensors of one side of the model.

    Raises:
        BadFrame: they are none.
    """
    if not isinstance(tables, list) or len(tables) > _MOST_TENSORS:
        raise BadFrame("no list of tensors")
    return tuple(map(DeviceTensor.parse, tables))


def times(answer: Mapping[str, Any], key: str) -> float:
    """A time in milliseconds out of an answer.

    Raises:
        BadFrame: it is none.
    """
    value = answer.get(key)
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise BadFrame(f"no time {key}")
    return float(value)
