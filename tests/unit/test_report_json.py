"""``edgekit-report.json`` is strict JSON whatever was measured."""

from __future__ import annotations

import json
import math
import re
import runpy
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edgekit import __version__
from edgekit.contract import Contract
from edgekit.report.json import SCHEMA_VERSION, plain, to_json
from edgekit.results import ConversionResult, DataReport, FileResult
from edgekit.types import Artifact, Gate, GateResult, ModelSource, Step, Verdict


def result(*files: FileResult) -> ConversionResult:
    return ConversionResult(
        source=ModelSource(location="m.onnx", kind="onnx", name="m", weights=Path("w.pt")),
        source_digest="ab" * 32,
        contract=Contract(),
        data=DataReport(
            path="photos",
            synthetic=False,
            seed=0,
            calibration_samples=8,
            calibration_digest="x",
            parity_samples=4,
            parity_digest="y",
        ),
        attempts=(),
        files=files,
        steps=(Step(name="onnx2tf convert", tool="onnx2tf", seconds=1.23456789),),
        notes=("größer",),
        output=Path("out"),
        report=Path("out/edgekit-report.json"),
        page=Path("out/edgekit-report.html"),
        seconds=2.0,
    )


def file(state, **metrics: float) -> FileResult:
    gate = Gate(metric="cosine", comparison=">=", limit=0.5)
    return FileResult(
        scheme="int8",
        artifact=Artifact(path=Path("out/m_int8.tflite"), sha256="cd", kind="tflite"),
        parity=None,
        latency=None,
        verdict=Verdict(gates=(GateResult(gate=gate, state=state),)),
        metrics=metrics,
    )


def strict(text: str):
    def refuse(word: str):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def test_the_document():
    data = strict(to_json(result(file("pass", cosine=math.nan, max_abs=math.inf, size_mb=1.5))))
    assert data["schema"] == "edgekit-report"
    assert data["schema_version"] == SCHEMA_VERSION == 1
    assert data["edgekit"] == __version__
    assert data["passed"] is True
    assert data["source"] == {
        "location": "m.onnx",
        "kind": "onnx",
        "name": "m",
        "weights": "w.pt",
        "trust_pickle": False,
        "signature": None,
        "named": None,
    }
    assert data["steps"][0]["seconds"] == 1.23457
    (entry,) = data["files"]
    assert entry["artifact"]["path"] == "out/m_int8.tflite"
    assert entry["metrics"] == {"cosine": None, "max_abs": None, "size_mb": 1.5}
    assert {"system", "machine", "python", "cpu"} == set(data["host"])


def test_a_picture_is_drawn_from_the_document(tmp_path, monkeypatch):
    report, picture = tmp_path / "report.json", tmp_path / "verdict.svg"
    report.write_text(to_json(result(file("pass", size_mb=1.5, latency_p50_ms=77.25))))
    program = Path(__file__).parents[2] / "benchmarks" / "picture.py"
    for more, shown in ((), True), (("--without-times",), False):
        monkeypatch.setattr("sys.argv", ["picture.py", str(report), str(picture), *more])
        runpy.run_path(str(program), run_name="__main__")
        text = picture.read_text(encoding="utf-8")
        assert "1.50" in text
        assert "PASS" in text
        assert ("77.25" in text) is shown
        assert not re.search(r"url\(\"?https?:", text)


def test_passed_is_the_verdict_of_all_files():
    assert strict(to_json(result(file("pass"), file("not measured"))))["passed"] is False
    assert strict(to_json(result(file("pass"), file("fail"))))["passed"] is False


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    leaves | st.just(Path("a/b")),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.builds(Step, name=st.text(), tool=st.just(""), seconds=st.floats(), options=inner)
    ),
    max_leaves=10,
)


@given(values)
def test_everything_is_plain_and_finite(value):
    strict(json.dumps(plain(value), allow_nan=False))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_six_digits(value):
    assert abs(plain(value) - value) <= 5.1e-6 * abs(value)


def test_flags_stay_flags():
    assert plain({"a": True, "b": (False,)}) == {"a": True, "b": [False]}
