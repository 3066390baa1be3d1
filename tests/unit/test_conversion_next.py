"""The last line of a conversion: what to type now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgekit.report.following import after_conversion


def file(scheme: str, state: str, error: str = "", **metrics: float) -> SimpleNamespace:
    verdict = SimpleNamespace(state=state, passed=state == "pass")
    artifact = SimpleNamespace(path=Path(f"net_{scheme}.tflite"))
    more = {"verdict": verdict, "artifact": artifact, "metrics": metrics}
    return SimpleNamespace(scheme=scheme, error=error, **more)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ([file("int8", "fail", "the quantizer crashed")], "another --scheme"),
        ([file("fp32", "pass"), file("int8", "pass")], "edgekit embed net_int8.tflite"),
        ([file("int8", "pass", index_agreement=1.0)], "edgekit inspect net_int8.tflite"),
        ([file("fp32", "pass"), file("int8", "not proven")], "more real data"),
        (
            [file("fp32", "pass"), file("int8", "fail")],
            "edgekit explain net_int8.tflite --reference net_fp32.tflite --data photos",
        ),
        ([file("fp32", "fail")], "edgekit inspect net_fp32.tflite"),
    ],
)
def test_what_to_type_now(files: list[SimpleNamespace], wanted: str) -> None:
    result = SimpleNamespace(
        files=files,
        probe=SimpleNamespace(wrong=()),
        contract=SimpleNamespace(task="classification"),
        data=SimpleNamespace(path="photos"),
    )
    assert wanted in after_conversion(result)  # type: ignore[arg-type]
