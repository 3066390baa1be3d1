"""What is said about files that do not fit: loading, limits, placement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import mixed_net
from target_nets import Chain, held_against, kinds

from edgekit.targets.check import check, reasons
from edgekit.targets.reading import load
from edgekit.tflite.model import read


def profile(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text('summary = "mine"\n' + text, encoding="utf-8")
    return path


def int8_net() -> Chain:
    net = Chain(1, 4, 4, 2, dtype="int8")
    net.add("RELU")
    net.add("MAX_POOL_2D", options=schema.Pool2DOptionsT(strideW=1, strideH=1))
    return net


def test_a_version_that_is_too_new_is_named_with_the_release_that_has_it() -> None:
    net = Chain(1, 8)
    net.add("FULLY_CONNECTED", version=12, options=schema.FullyConnectedOptionsT())
    report = held_against(net.model, "tflite-runtime-2.14.0")
    assert report.loads is False
    assert not report.fits
    (finding,) = report.violations
    assert finding.kind == "load"
    for part in ("FULLY_CONNECTED version 12", "versions 1 to 10", "2.17.0"):
        assert part in finding.message
    assert "ai-edge-litert-1.4.0" in finding.cure
    assert finding.operators == ("fully_connected_0",)
    assert held_against(net.model, "ai-edge-litert-1.4.0").loads is True


@pytest.mark.parametrize(("version", "loads"), [(10, True), (11, False)])
def test_versions_follow_from_a_release_alone(tmp_path: Path, version: int, loads: bool) -> None:
    path = profile(tmp_path, '[runtime]\nname = "TFLite 2.14"\ntensorflow_lite = "2.14"\n')
    net = Chain(1, 8)
    net.add("FULLY_CONNECTED", version=version, options=schema.FullyConnectedOptionsT())
    assert held_against(net.model, path).loads is loads


def test_a_version_beyond_the_table_is_not_known(tmp_path: Path) -> None:
    path = profile(tmp_path, '[runtime]\nname = "TFLite 2.14"\ntensorflow_lite = "2.14"\n')
    net = Chain(1, 8)
    net.add("CONV_2D", version=40)
    report = held_against(net.model, path)
    assert report.fits
    assert report.loads is None
    assert "not known" in report.findings[0].message


def test_an_operator_that_is_not_there_at_all() -> None:
    net = Chain(1, 8)
    net.add("ATAN2", net.last)
    report = held_against(net.model, "tflite-micro")
    assert kinds(report) == ["load"]
    assert report.loads is False


def test_tflite_micro_does_not_look_at_versions() -> None:
    net = Chain(1, 8)
    net.add("FULLY_CONNECTED", version=12, options=schema.FullyConnectedOptionsT())
    assert held_against(net.model, "tflite-micro").loads is True


def test_flex_and_custom_operators(tmp_path: Path) -> None:
    net = Chain(1, 8)
    net.add_custom("FlexErf")
    net.add_custom("MyOp")
    net.add_custom("TFLite_Detection_PostProcess")
    report = held_against(net.model, "ai-edge-litert-2.3.0")
    assert kinds(report) == ["flex", "custom"]
    assert "MyOp" in report.violations[1].message
    mine = profile(
        tmp_path,
        'extends = "ai-edge-litert-2.3.0"\n[runtime]\nflex = true\n'
        'custom = ["MyOp", "TFLite_Detection_PostProcess"]\n',
    )
    assert held_against(net.model, mine).fits
    assert kinds(held_against(net.model, "android-play-services")) == ["flex"] + ["custom"] * 2


def test_tensor_types_that_a_runtime_does_not_know() -> None:
    net = Chain(1, 8)
    net.constant("weights", np.zeros(4, np.int8)).raw.type = schema.TensorType.INT2
    report = held_against(net.model, "tflite-runtime-2.14.0")
    assert kinds(report) == ["load"]
    assert "int2" in report.violations[0].message
    assert held_against(net.model, "ai-edge-litert-2.3.0").fits


def test_types_that_a_kernel_refuses_though_the_version_is_there() -> None:
    net = Chain(1, 8, dtype="int8")
    net.add("QUANTIZE", dtype="int16")
    assert held_against(net.model, "tflite-runtime-2.14.0").loads is False
    assert held_against(net.model, "ai-edge-litert-2.1.6").loads is True
    back = Chain(1, 8, dtype="int16")
    back.add("QUANTIZE", dtype="int8")
    assert held_against(back.model, "tflite-runtime-2.14.0").loads is True


@pytest.mark.parametrize(
    ("dtype", "channels", "wrong"), [("int8", 4, True), ("int8", 1, False), ("float32", 1, False)]
)
def test_what_a_kernel_computes_wrongly_though_it_loads(
    dtype: str, channels: int, wrong: bool
) -> None:
    """Quantizers write version 1 for weights that only version 12 can do with."""
    net = Chain(1, 8)
    weights = net.constant("weights", np.ones((4, 8), dtype))
    if dtype == "int8":
        weights.raw.quantization = schema.QuantizationParametersT(
            scale=[0.1] * channels, zeroPoint=[0] * channels
        )
    net.add("FULLY_CONNECTED", weights, shape=(1, 4), options=schema.FullyConnectedOptionsT())
    report = held_against(net.model, "tflite-runtime-2.14.0")
    assert kinds(report) == (["wrong"] if wrong else [])
    assert report.loads is True
    assert held_against(net.model, "ai-edge-litert-1.4.0").fits


def test_float_on_a_target_of_integers(tmp_path: Path) -> None:
    float_file = read(mixed_net(tmp_path / "net.tflite"))
    report = held_against(float_file, "edge-tpu")
    assert "integer" in kinds(report)
    assert "--scheme int8" in report.violations[0].cure
    assert report.placement is not None
    assert report.placement.accelerated == 0
    assert held_against(int8_net().model, "edge-tpu").fits


def test_a_float_interface_is_no_float_operator() -> None:
    net = Chain(1, 4)
    net.add("QUANTIZE", dtype="int8")
    net.add("RELU")
    net.add("DEQUANTIZE", dtype="float32")
    report = held_against(net.model, "hexagon")
    assert report.fits
    assert report.placement is not None
    assert report.placement.accelerated == 1


def test_inputs_and_outputs_with_the_type_to_ask_for(tmp_path: Path) -> None:
    report = held_against(int8_net().model, "litert-web")
    assert kinds(report) == ["io", "io"]
    assert "--io-dtype float32" in report.violations[0].cure
    mine = profile(tmp_path, '[limits]\ninputs = ["uint8", "float32"]\n')
    report = held_against(int8_net().model, mine)
    assert kinds(report) == ["io"]
    assert "--io-dtype uint8" in report.violations[0].cure


def test_size_and_memory(tmp_path: Path) -> None:
    net = int8_net()  # three tensors of 32 bytes, two alive at a time
    fits = profile(tmp_path, "[limits]\nfile_bytes = 1000\narena_bytes = 192\n")
    assert held_against(net.model, fits).fits
    model, size = net.model, 1000
    measured = [check(model, load(str(fits)), size_bytes=size, arena_bytes=n) for n in (192, 193)]
    assert [report.fits for report in measured] == [True, False]
    assert "193 bytes (measured)" in measured[1].violations[0].message
    small = profile(tmp_path, "[limits]\nfile_bytes = 999\narena_bytes = 127\n")
    report = held_against(net.model, small)
    assert kinds(report) == ["size", "memory"]
    assert "estimated" in report.violations[1].message


def test_a_shape_that_is_not_fixed_is_not_known(tmp_path: Path) -> None:
    net = int8_net()
    net.graph.tensors[0].raw.shapeSignature = [-1, 4, 4, 2]
    report = held_against(net.model, profile(tmp_path, "[limits]\narena_bytes = 1\n"))
    assert report.arena is None
    assert report.fits
    assert any("not known" in one.message for one in report.findings)
    assert held_against(net.model, "edge-tpu").placement.accelerated == 1  # type: ignore[union-attr]


def accelerator(folder: Path, rules: str = "", more: str = "", limits: str = "") -> Path:
    return profile(
        folder,
        '[accelerator]\nname = "the NPU"\ntypes = ["int8"]\n'
        f'operators = ["RELU", "CONV_2D", "MAX_POOL_2D"]\n{more}\n'
        f"[accelerator.rules]\n{rules}\n[limits]\n{limits}\n",
    )


def test_what_falls_off_and_where_the_graph_splits(tmp_path: Path) -> None:
    net = Chain(1, 4, dtype="int8")
    for kind in ("RELU", "ABS", "RELU", "RELU"):
        net.add(kind)
    report = held_against(net.model, accelerator(tmp_path))
    assert report.fits
    placement = report.placement
    assert placement is not None
    assert (placement.accelerated, placement.operators) == (3, 4)
    messages = " ".join(one.message for one in report.findings)
    assert "1 ABS" in messages
    assert "the NPU 1 → CPU 1 → the NPU 2" in messages


@pytest.mark.parametrize(
    ("limits", "expected"),
    [("parts = 1", ["parts"]), ("parts = 2", []), ("accelerated_share = 0.8", ["accelerator"])],
)
def test_limits_on_the_split(tmp_path: Path, limits: str, expected: list[str]) -> None:
    net = Chain(1, 4, dtype="int8")
    for kind in ("RELU", "ABS", "RELU", "RELU"):
        net.add(kind)
    assert kinds(held_against(net.model, accelerator(tmp_path, limits=limits))) == expected


def test_a_required_accelerator_must_take_all(tmp_path: Path) -> None:
    net = Chain(1, 4, dtype="int8")
    net.add("ABS")
    report = held_against(net.model, accelerator(tmp_path, more="required = true"))
    assert kinds(report) == ["accelerator"]


def test_only_the_first_part_is_computed(tmp_path: Path) -> None:
    net = Chain(1, 4, dtype="int8")
    for kind in ("RELU", "ABS", "RELU", "RELU"):
        net.add(kind)
    report = held_against(net.model, accelerator(tmp_path, more="first_part_only = true"))
    assert report.placement is not None
    assert report.placement.accelerated == 1
    assert any("2 operators that the NPU could take" in one.message for one in report.findings)


def test_an_incomplete_list_leaves_operators_not_known(tmp_path: Path) -> None:
    net = Chain(1, 4, dtype="int8")
    net.add("ABS")
    more = "complete = false\nrequired = true"
    report = held_against(net.model, accelerator(tmp_path, more=more))
    assert report.fits
    assert report.placement is not None
    assert report.placement.unknown == 1
    assert any("is not known" in one.message for one in report.findings)


@pytest.mark.parametrize(
    ("rules", "more", "message"),
    [
        ('CONV_2D = { activations = ["NONE"] }', "", "fused RELU6"),
        ("CONV_2D = { max_stride = 1 }", "", "stride 2"),
        ("CONV_2D = { max_rank = 3 }", "", "more than 3 dimensions"),
        ('CONV_2D = { types = ["float32"] }', "", "does not take int8"),
        ("", "inner_dimensions = 3", "last 3 dimensions"),
        ('CONV_2D = { condition = "an even number" }', "", "an even number"),
    ],
)
def test_rules_of_one_operator(tmp_path: Path, rules: str, more: str, message: str) -> None:
    net = Chain(2, 4, 4, 2, dtype="int8")
    weights = net.constant("weights", np.zeros((2, 3, 3, 2), np.int8))
    options = schema.Conv2DOptionsT(
        strideH=2, strideW=2, fusedActivationFunction=schema.ActivationFunctionType.RELU6
    )
    net.add("CONV_2D", weights, options=options)
    report = held_against(net.model, accelerator(tmp_path, rules, more))
    assert any(message in one.message for one in report.findings), report.findings


def mean(shape: tuple[int, ...], axes: tuple[int, ...]) -> Chain:
    """One MEAN that keeps its dimensions."""
    net = Chain(*shape, dtype="int8")
    reduced = {axis % len(shape) for axis in axes}
    kept = tuple(1 if place in reduced else size for place, size in enumerate(shape))
    options = schema.ReducerOptionsT(keepDims=True)
    net.add("MEAN", net.constant("axes", np.array(axes, np.int32)), shape=kept, options=options)
    return net


VELA_ON_MEAN = {
    ((1, 8, 8, 16), (1, 2)): True,
    ((1, 8, 8, 16), (-3, -2)): True,
    ((1, 16, 8, 8), (2, 3)): False,
    ((1, 16, 8, 8), (3,)): False,
    ((1, 16, 8, 1), (2, 3)): True,
    ((1, 1, 8, 8), (2, 3)): True,
    ((1, 8, 8, 16), (3,)): False,
    ((1, 8, 8, 16), (1, 2, 3)): False,
    ((1, 16, 64), (2,)): True,
    ((1, 16, 64), (1,)): True,
    ((1, 64), (1,)): True,
    ((4, 64), (1,)): True,
    ((4, 16, 64), (1,)): True,
    ((2, 8, 8, 16), (1, 2)): False,
    ((4, 8, 8, 16), (0,)): False,
    ((1, 2, 8, 8, 16), (2, 3)): False,
    ((1, 64, 5000, 2), (2,)): False,
    ((1, 5000, 4, 2), (1,)): False,
    ((1, 4095, 2, 2), (1,)): True,
    ((1, 4096, 2, 2), (1,)): True,
    ((1, 8, 8, 5000), (1, 2)): True,
}
"""Whether ethos-u-vela 5.2.0 put a MEAN on the NPU, for Ethos-U55-128 and Ethos-U85-256 alike."""


@pytest.mark.parametrize("target", ["ethos-u55", "ethos-u85"])
@pytest.mark.parametrize(("case", "taken"), VELA_ON_MEAN.items())
def test_a_mean_is_where_vela_puts_it(case, taken: bool, target: str) -> None:
    placement = held_against(mean(*case).model, target).placement
    assert placement is not None
    assert placement.accelerated == taken


def test_the_reasons_of_a_gate() -> None:
    reports = [held_against(int8_net().model, name) for name in ("litert-web", "edge-tpu")]
    text = reasons(reports)
    assert text.startswith("litert-web: The input input is int8")
    assert "edge-tpu" not in text
