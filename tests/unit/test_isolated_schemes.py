"""One scheme that ends the quantizer's process takes no other scheme with it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.errors import DataError, StepCrashed
from edgekit.pipeline.quantized import _Making
from edgekit.pipeline.request import Setting
from edgekit.types import Scheme

SETTING = Setting(effort="balanced", ranges="auto")


class Quantizer:
    """A workshop whose quantizer is killed whenever it is asked for one of some schemes."""

    def __init__(self, *deadly: str, error: Exception | None = None) -> None:
        self.deadly, self.asked = set(deadly), list[list[str]]()
        self.error = error or StepCrashed(
            "The process of quantize was killed by SIGABRT without an answer.",
            step="quantize",
            log=Path("/logs/quantize.log"),
        )

    def call(self, converter: Any, verb: str, request: Any, **_: Any) -> tuple[Any, None]:
        schemes = list(request["outputs"])
        self.asked.append(schemes)
        if self.deadly & set(schemes):
            raise self.error
        mixed = {"tensors": [{"tensor": "y"}], "cut": [], "joined": {}}
        told = [{"code": "calibration-few"}]
        left = {scheme: [] for scheme in schemes}
        answer = {
            "failures": {},
            "advice": told,
            "left": left,
            "gave_up": [],
            "mixed_ranges": mixed,
        }
        return answer, None


def ask(monkeypatch: Any, quantizer: Quantizer, *schemes: Scheme) -> dict[str, Any]:
    calibration = SimpleNamespace(digest="", count=1)
    reference = SimpleNamespace(data=SimpleNamespace(calibration=calibration))
    subject = SimpleNamespace(floating=None, reference=reference)
    making = _Making(
        plan=SimpleNamespace(request=SimpleNamespace(keep_prepared=False, without=())),
        subject=subject,
        eight_bit=subject,
        workshop=quantizer,
        work=Path(),
    )  # type: ignore[arg-type]
    monkeypatch.setattr(_Making, "_ground", lambda self, *_: {})
    return making._quantize(schemes, SETTING, Path())


def test_nothing_is_asked_twice_where_nothing_fails(monkeypatch: Any) -> None:
    quantizer = Quantizer()
    assert ask(monkeypatch, quantizer, "fp32", "int8")["failures"] == {}
    assert quantizer.asked == [["fp32", "int8"]]


def test_the_others_are_made_one_by_one(monkeypatch: Any) -> None:
    quantizer = Quantizer("int8")
    answer = ask(monkeypatch, quantizer, "fp32", "fp16", "int8")
    assert quantizer.asked[1:] == [["fp32"], ["fp16"], ["int8"]]
    assert list(answer["failures"]) == ["int8"]
    for word in ("SIGABRT", "--effort none", "--scheme", "/logs/quantize.log"):
        assert word in answer["failures"]["int8"]
    assert set(answer["left"]) == {"fp32", "fp16"}
    assert answer["advice"] == [{"code": "calibration-few"}]  # told once
    assert answer["mixed_ranges"]["tensors"] == [{"tensor": "y"}]


def test_what_the_samples_are_to_blame_for_stays_an_error(monkeypatch: Any) -> None:
    with pytest.raises(DataError):
        ask(monkeypatch, Quantizer("int8", error=DataError("NaN in sample 3")), "fp32", "int8")
