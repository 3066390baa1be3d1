"""A request goes into a lock and comes back; the command in it says the same."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.config import Config
from edgekit.contract import Decoder
from edgekit.errors import UsageError
from edgekit.pipeline import ladder, locking
from edgekit.pipeline.plan import Plan
from edgekit.pipeline.replay_request import as_command, to_request
from edgekit.pipeline.request import ConversionRequest
from edgekit.presets import Preset
from edgekit.provenance.lock import Lock
from edgekit.provenance.text import from_text, to_text
from edgekit.results import KeptLayer
from edgekit.toolchain.converters import Converter
from edgekit.toolchain.workshop import Limits
from edgekit.types import ModelSource, TensorSpec

FULL = ConversionRequest(
    model="net.py:build",
    weights=Path("w.pt"),
    inputs=(
        TensorSpec(name="image", shape=(1, 3, 8, 8), resizable=(2,), layout="NCHW"),
        TensorSpec(name="ids:0", shape=(1, 4), dtype="int64"),
    ),
    preprocess={"resize": (256, 224), "scale": 1 / 255, "mean": (0.5, 0.25, 0.1), "color": "BGR"},
    task="classification",
    labels=Path("labels.txt"),
    calibration=Path("photos"),
    parity=Path("other"),
    samples=7,
    parity_samples=5,
    seed=3,
    schemes=("fp32", "int8"),
    io_dtype="uint8",
    effort="thorough",
    ranges="percentile:99.9",
    keep_prepared=True,
    keep_float=("a", "b c"),
    keep_int16=("d",),
    max_drop=0.01,
    min_sqnr=20.0,
    min_agreement=0.5,
    allow_float_ops=True,
    targets=("esp32",),
    route="onnx2tf",
    config=Path("edgekit.toml"),
    gates=("int8:top1_agreement >= 95%",),
    threads=2,
    limits=Limits(seconds=5.0, memory_gb=2.0, allow_network=True),
)
PRESET = Preset(
    origin="timm's pretrained_cfg",
    preprocess={"resize": 256, "crop": (224, 224), "antialias": True, "std": (0.5, 0.25, 0.1)},
    fields={"resize": "crop_pct 0.875"},
    size=(3, 224, 224),
    task="detection",
    labels=("a", "b"),
    decoder=Decoder(format="yolov8"),
)


def make_plan(request: ConversionRequest, source: ModelSource | None = None) -> Plan:
    return Plan(
        request=request,
        config=Config(),
        source=source or ModelSource(location=str(request.model), kind="torch", name="net"),
        runner=Converter(name="torch", summary="", program=Path("x"), environment="host"),
        routes=(),
        converters={},
        choose_fastest=False,
        schemes=("fp32",),
        calibration=request.calibration,
        parity=request.parity,
        samples=request.samples or 128,
        labels=(),
        gates=(),
        output=Path("out"),
    )


PLACES = {
    "model": Path("net.py"),
    "weights": Path("w.pt"),
    "labels": Path("labels.txt"),
    "config": Path("edgekit.toml"),
    "calibration": Path("photos"),
    "parity": Path("other"),
}


def lock_of(plan: Plan, **settled: Any) -> Lock:
    lock = Lock(edgekit="1", command="", request=locking._request(plan), settled=settled)
    return from_text(to_text(lock))


def test_a_request_comes_back_through_the_text_of_a_lock():
    assert to_request(lock_of(make_plan(FULL)), PLACES) == FULL


def test_what_an_object_said_about_feeding_it_comes_back_and_is_typed_as_options():
    plan = make_plan(replace(FULL, preset=PRESET, preprocess={"std": (0.5,)}))
    assert to_request(lock_of(plan), PLACES) == plan.request
    command = as_command(plan)
    assert "--resize 256 --crop 224x224 --antialias --std 0.5" in command
    assert "preset" not in command


def test_what_was_moved_is_where_it_is_now():
    places = {**PLACES, "model": Path("/new/model.py"), "calibration": Path("/data")}
    request = to_request(lock_of(make_plan(FULL)), places, force=True)
    assert request.model == "/new/model.py:build"
    assert request.calibration == Path("/data")
    assert request.force


def test_a_package_is_named_and_a_file_is_a_place():
    named = make_plan(replace(FULL, model="package.nets:build"))
    assert to_request(lock_of(named), PLACES).model == "package.nets:build"
    source = ModelSource(location="net.onnx", kind="onnx", name="net")
    file = make_plan(replace(FULL, model="net.onnx"), source)
    assert to_request(lock_of(file), {**PLACES, "model": Path("x.onnx")}).model == "x.onnx"


def test_parity_data_that_is_a_part_of_the_calibration_data_is_not_stated():
    lock = lock_of(make_plan(replace(FULL, parity=None)))
    assert to_request(lock, {**PLACES, "parity": Path("photos")}).parity is None


def test_defaults_come_back_as_what_they_were():
    request = ConversionRequest(model="net.py:build", calibration=Path("photos"))
    back = to_request(lock_of(make_plan(request)), {k: PLACES[k] for k in ("model", "calibration")})
    assert back == replace(request, samples=128)


def test_numbers_of_numpy_come_back_as_numbers():
    import numpy as np

    preprocess = {"scale": np.float64(0.5), "mean": [np.float32(0.5)], "resize": np.int64(9)}
    lock = lock_of(make_plan(replace(FULL, preprocess=preprocess)))
    back = to_request(lock, PLACES).preprocess
    assert back == {"scale": 0.5, "mean": (0.5,), "resize": 9}
    assert type(back["resize"]) is int


def test_what_is_not_folded_is_said_and_comes_back():
    plan = make_plan(replace(FULL, fold_preprocess=False))
    assert "--no-fold-preprocess" in as_command(plan).split()
    assert to_request(lock_of(plan), PLACES).fold_preprocess is False


def test_what_the_clock_decided_is_settled():
    rung = {
        "effort": "thorough",
        "ranges": "auto",
        "kept": [{"members": ["a", "b"], "precision": "int16"}],
    }
    request = to_request(lock_of(make_plan(FULL), route="keras", rung=rung), PLACES)
    assert request.route == "keras"
    assert request.settled == ladder.Setting(
        effort="thorough",
        kept=(KeptLayer(name="a", members=("a", "b"), precision="int16"),),
    )


@pytest.mark.parametrize(
    "request_",
    [
        {"seed": "0"},
        {"schemes": "int8"},
        {"schemes": ["int7"]},
        {"effort": "some"},
        {"min_sqnr": True},
        {"nobody": 1},
        {"model": 5},
        {"model": "elsewhere.py:build"},
        {"model": "elsewhere.onnx"},
        {"inputs": [{"name": "x"}]},
        {"inputs": [5]},
        {"inputs": [{"name": "x", "shape": ["one"]}]},
        {"limits": {"days": 1}},
        {"limits": 5},
        {"preprocess": {"resize": -1}},
        {"preprocess": {"blur": 1}},
        {"preprocess": 5},
        {"output": "/etc"},
        {"settled": {}},
    ],
)
def test_a_request_that_makes_no_sense(request_):
    table = {**locking._request(make_plan(FULL)), **request_}
    with pytest.raises(UsageError, match="cannot be carried out") as caught:
        to_request(Lock(edgekit="9.9", command="", request=table), PLACES)
    assert "9.9" in caught.value.cure


@pytest.mark.parametrize(
    "rung", [5, {}, {"effort": "x"}, {"effort": "x", "ranges": "", "kept": [1]}]
)
def test_a_rung_that_makes_no_sense(rung):
    with pytest.raises(UsageError, match="cannot be carried out"):
        to_request(lock_of(make_plan(FULL), rung=rung), PLACES)


def test_a_lock_without_its_model():
    with pytest.raises(UsageError, match="cannot be carried out"):
        to_request(lock_of(make_plan(FULL)), {})


def test_the_command_for_people_means_the_same(monkeypatch):
    from edgekit.cli import conversion
    from edgekit.cli.convert import command

    taken: list[ConversionRequest] = []
    monkeypatch.setattr(conversion, "carry_out", lambda request, **_: taken.append(request))
    words = shlex.split(as_command(make_plan(FULL)))
    assert words[:3] == ["edgekit", "convert", "net.py:build"]
    command.main(words[2:], standalone_mode=False)
    assert taken == [FULL]
