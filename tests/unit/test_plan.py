"""Deciding what to do: pure, complete, and with every contradiction named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import DataError, ModelError, UsageError
from edgekit.pipeline.plan import DEFAULT_SAMPLES, plan
from edgekit.pipeline.request import ConversionRequest
from edgekit.types import Gate


@pytest.fixture
def model(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"\x08\x07")
    (tmp_path / "photos").mkdir()
    return "net.onnx"


def decide(model: str | None, **options):
    options.setdefault("calibration", None if options.get("synthetic") else Path("photos"))
    return plan(ConversionRequest(model=model, **options))


def test_a_plan_touches_nothing(model, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    decided = decide(model)
    decided.describe()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_decided_where_nothing_is_said(model):
    decided = decide(model)
    assert decided.schemes == ("fp32", "fp16", "int8")
    assert decided.samples == DEFAULT_SAMPLES
    assert decided.output == Path("net_tflite")
    assert [route.name for route in decided.routes] == ["onnx2tf"]
    assert decided.runner.name == "onnx"
    assert not decided.choose_fastest
    assert decide(model, synthetic=True).schemes == ("fp32", "fp16")


def test_what_is_said_wins(model):
    decided = decide(model, schemes=("int8", "fp32", "int8"), samples=3, output=Path("there"))
    assert decided.schemes == ("int8", "fp32")
    assert decided.samples == 3
    assert decided.file("int8") == Path("there/net_int8.tflite")
    assert decided.file("int8-float-io") == Path("there/net_int8_float_io.tflite")


def test_data_is_needed_and_must_be_one_thing(model):
    with pytest.raises(UsageError, match="No calibration data") as caught:
        decide(model, calibration=None)
    assert "--synthetic" in caught.value.cure
    with pytest.raises(UsageError, match="contradict"):
        decide(model, calibration=Path("photos"), synthetic=True)


def test_data_that_is_not_there_is_told_at_once(model):
    with pytest.raises(DataError, match="gone"):
        decide(model, calibration=Path("gone"))


def test_keras_models_take_the_fastest_route_unless_one_is_forced(model, tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"x")
    assert decide("saved").choose_fastest
    assert len(decide("saved").routes) == 2
    forced = decide("saved", route="keras")
    assert not forced.choose_fastest
    assert [route.name for route in forced.routes] == ["keras"]


def test_a_tflite_file_needs_no_route(model, tmp_path):
    (tmp_path / "net.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    decided = decide("net.tflite")
    assert decided.routes == ()
    assert decided.runner.name == "litert"


def test_the_configuration_fills_in_and_flags_win(model, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "edgekit.toml").write_text(
        "[model]\nsource = 'own.onnx'\n[calibration]\ndata = 'images'\nsamples = 7\n"
        "[gates]\nsqnr_db = '>= 50'\n"
    )
    (folder / "own.onnx").write_bytes(b"\x08\x07")
    (folder / "images").mkdir()
    config = folder / "edgekit.toml"
    decided = plan(ConversionRequest(config=config, gates=("int8:sqnr_db >= 20",)))
    assert decided.source.location == str(folder / "own.onnx")
    assert decided.calibration == folder / "images"
    assert decided.samples == 7
    assert decided.gates == (
        (None, Gate(metric="sqnr_db", comparison=">=", limit=50)),
        ("int8", Gate(metric="sqnr_db", comparison=">=", limit=20)),
    )
    flags = decide(model, config=config, samples=9)
    assert (flags.source.location, flags.calibration, flags.samples) == (model, Path("photos"), 9)


def test_mistakes_are_found_before_anything_begins(model, tmp_path):
    with pytest.raises(UsageError, match="No model"):
        decide(None)
    with pytest.raises(UsageError, match="no known metric"):
        decide(model, gates=("speed >= 1",))
    with pytest.raises(UsageError, match="litert_torch"):
        decide(model, route="litert_torch")
    with pytest.raises(UsageError, match=r"gone\.txt"):
        decide(model, labels=Path("gone.txt"))
    (tmp_path / "empty.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="empty"):
        decide("empty.onnx")


def test_the_description_is_for_people(model):
    described = decide(model, gates=("size_mb <= 5",)).describe()
    assert described["source"] == {"location": "net.onnx", "kind": "onnx"}
    assert described["routes"] == ["onnx → tflite (by onnx2tf)"]
    assert described["environments"] == {"onnx": "to be built", "onnx2tf": "to be built"}
    assert described["calibration"] == "photos"
    assert described["files"]["fp32"] == "net_tflite/net_fp32.tflite"
    assert list(described["gates"]) == ["fp32", "fp16", "int8"]
    assert described["gates"]["fp32"] == ["size_mb <= 5", "centred_sqnr_db >= 60", "nonfinite <= 0"]
    assert decide(model, synthetic=True).describe()["calibration"] == "synthetic"
