"""Dataclasses as plain data, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.calibration.samples import SampleSet
from edgekit.pipeline.request import ConversionRequest
from edgekit.plain import from_plain, to_plain
from edgekit.toolchain.workshop import Limits
from edgekit.types import TensorSpec


@dataclass(frozen=True)
class Inner:
    path: Path
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    some: tuple[Inner, ...] = ()
    maybe: Inner | None = None
    table: Mapping[str, Inner] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    label: str | int | float | None = None


def there_and_back(kind: type[Any], value: Any) -> Any:
    return from_plain(kind, json.loads(json.dumps(to_plain(value))))


def test_what_goes_out_comes_back() -> None:
    one = Inner(Path("a/b"), (1, None, 3))
    for outer in (
        Outer(one),
        Outer(one, (one, one), one, {"x": one}, frozenset("ab"), "cat"),
        Outer(one, label=7),
        Outer(one, label=0.5),
    ):
        assert there_and_back(Outer, outer) == outer


def test_a_request_comes_back() -> None:
    request = ConversionRequest(
        model="net.onnx",
        inputs=(TensorSpec(name="x", shape=(1, None)),),
        preprocess={"scale": 0.5},
        calibration=Path("photos"),
        schemes=("int8",),
        limits=Limits(seconds=5.0, allow_write=(Path("out"),)),
    )
    assert there_and_back(ConversionRequest, request) == request


def test_labels_of_every_kind_come_back() -> None:
    rows = SampleSet(
        files={"x": Path("x.npy")},
        ids=("a", "b", "c", "d"),
        labels=("cat", 3, None, np.array([1, 2])),
        digest="d",
        pictures=frozenset({"x"}),
    )
    back = there_and_back(SampleSet, rows)
    assert back.labels == ("cat", 3, None, [1, 2])
    assert (back.files, back.pictures) == (rows.files, rows.pictures)


def test_numbers_of_numpy_are_numbers() -> None:
    assert to_plain({"n": np.float32(0.5), "k": np.int64(3)}) == {"n": 0.5, "k": 3}


@pytest.mark.parametrize("value", [7, [1], {"inner": {"path": 3, "shape": []}}, {"other": 1}])
def test_what_is_something_else_is_refused(value: Any) -> None:
    with pytest.raises((TypeError, KeyError, ValueError)):
        from_plain(Outer, value)
