"""Quantized ONNX and ExportedPrograms: their float form, held against PyTorch with real weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from worker_process import WorkerProcess

from edgekit.cli.inspect import command as inspect
from edgekit.errors import UsageError
from edgekit.toolchain.converters import discover
from edgekit.toolchain.environments import ensure

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
helper = onnx.helper

pytestmark = pytest.mark.e2e

SCALE_X, ZERO_X = np.float32(0.04), np.uint8(120)
SCALE_Y, ZERO_Y = np.float32(0.05), np.uint8(0)  # the range begins at 0: a RELU, left out


class Weights:
    """A convolution and a matrix, in int8, each channel with a scale of its own."""

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.kernel = random.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
        self.kernel_scale = random.uniform(0.001, 0.01, 6).astype(np.float32)
        self.bias = random.integers(-900, 900, 6).astype(np.int32)
        self.matrix = random.integers(-127, 128, (6, 4)).astype(np.int8)
        self.matrix_scale = random.uniform(0.001, 0.01, 4).astype(np.float32)

    def right(self, x: np.ndarray) -> np.ndarray:
        """What the model computes with the weights as real numbers, by PyTorch."""
        kernel = torch.from_numpy(self.kernel * self.kernel_scale[:, None, None, None])
        bias = torch.from_numpy((self.bias * (self.kernel_scale * SCALE_X)).astype(np.float32))
        y = torch.nn.functional.conv2d(torch.from_numpy(x), kernel, bias).relu()
        y = y.clamp(max=float(SCALE_Y) * 255).mean((2, 3))
        return (y @ torch.from_numpy(self.matrix * self.matrix_scale)).numpy()

    def constants(self) -> dict[str, np.ndarray]:
        return {
            "xs": SCALE_X,
            "xz": ZERO_X,
            "ys": SCALE_Y,
            "yz": ZERO_Y,
            "k": self.kernel,
            "ks": self.kernel_scale,
            "kz": np.zeros(6, np.int8),
            "b": self.bias,
            "bs": self.kernel_scale * SCALE_X,
            "m": self.matrix,
            "ms": self.matrix_scale,
            "mz": np.zeros(4, np.int8),
            "axes": np.array([2, 3]),
        }


def node(kind: str, inputs: str, output: str, domain: str = "", **attributes: Any) -> Any:
    return helper.make_node(kind, inputs.split(), output.split(), domain=domain, **attributes)


HEAD = [node("ReduceMean", "y axes", "pooled", keepdims=0)]
QDQ = [
    node("QuantizeLinear", "x xs xz", "xq"),
    node("DequantizeLinear", "xq xs xz", "xd"),
    node("DequantizeLinear", "k ks kz", "kd", axis=0),
    node("DequantizeLinear", "b bs", "bd", axis=0),
    node("Conv", "xd kd bd", "c"),
    node("QuantizeLinear", "c ys yz", "cq"),
    node("DequantizeLinear", "cq ys yz", "y"),
    *HEAD,
    node("DequantizeLinear", "m ms mz", "md", axis=1),
    node("MatMul", "pooled md", "out"),
]
OPERATORS = [
    node("QuantizeLinear", "x xs xz", "xq"),
    node("QLinearConv", "xq xs xz k ks kz ys yz b", "cq"),
    node("DequantizeLinear", "cq ys yz", "y"),
    *HEAD,
    node("QuantizeLinear", "pooled ys yz", "pq"),
    node("MatMulIntegerToFloat", "pq m ys ms yz mz", "out", "com.microsoft"),
]
DYNAMIC = [
    node("DequantizeLinear", "k ks kz", "kd", axis=0),
    node("DequantizeLinear", "b bs", "bd", axis=0),
    node("Conv", "x kd bd", "c"),
    node("QuantizeLinear", "c ys yz", "cq"),
    node("DequantizeLinear", "cq ys yz", "y"),
    *HEAD,
    node("DynamicQuantizeLinear", "pooled", "pq ps pz"),
    node("MatMulInteger", "pq m pz mz", "whole"),
    node("Cast", "whole", "real", to=onnx.TensorProto.FLOAT),
    node("Mul", "ps ms", "scale"),
    node("Mul", "real scale", "out"),
]


def save(nodes: list[Any], weights: Weights, path: Path) -> None:
    used = {name for one in nodes for name in one.input}
    stored = [
        onnx.numpy_helper.from_array(np.asarray(value), name)
        for name, value in weights.constants().items()
        if name in used
    ]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 9, 8])],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [1, 4])],
        stored,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    python = ensure(discover()["onnx"]).python
    with WorkerProcess("onnx", tmp_path_factory.mktemp("onnx") / "log", python=python) as process:
        yield process


def reference(worker: WorkerProcess, path: Path, kind: str, x: np.ndarray) -> tuple[Any, Any]:
    """The notes, and the outputs for the samples."""
    described = worker.call(
        "describe",
        source={"location": str(path), "kind": kind, "as_float": True},
        inputs=[],
    )
    np.save(path.parent / "x.npy", x)
    specs = [{**described["inputs"][0], "shape": [1, *x.shape[1:]]}]
    result = worker.call(
        "reference",
        inputs={specs[0]["name"]: str(path.parent / "x.npy")},
        specs=specs,
        outputs_folder=str(path.parent),
    )
    return described["notes"] + result["notes"], np.load(result["outputs"][0]["path"])


@pytest.mark.parametrize(
    "nodes", [QDQ, OPERATORS, DYNAMIC], ids=["qdq", "operators", "dynamically quantized"]
)
def test_onnx_becomes_what_its_stored_weights_say(
    nodes: list[Any], runner: WorkerProcess, tmp_path: Path
) -> None:
    weights = Weights()
    save(nodes[::-1], weights, tmp_path / "quantized.onnx")  # its nodes are not sorted, too
    x = np.random.default_rng(8).normal(size=(4, 3, 9, 8)).astype(np.float32)
    notes, given = reference(runner, tmp_path / "quantized.onnx", "onnx", x)
    np.testing.assert_allclose(given, weights.right(x), rtol=1e-4, atol=1e-6)
    assert "The model is quantized (" in notes[0]
    assert "dB from its float form" in notes[1]


def test_inspect_shows_what_an_onnx_file_holds_and_what_must_be_stated(tmp_path: Path) -> None:
    save(QDQ, Weights(), tmp_path / "quantized.onnx")
    model = onnx.load(tmp_path / "quantized.onnx")
    for axis, name in ((0, "batch"), (2, "height")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, tmp_path / "open.onnx")
    command = [str(tmp_path / "open.onnx"), "--json"]
    result = CliRunner().invoke(inspect, command, catch_exceptions=False)
    shown = json.loads(result.output)
    assert shown["inputs"][0]["shape"] == [None, 3, None, 8]
    assert shown["needed"] == ["--input x:1x3x?x8"]
    assert shown["operators"]["DequantizeLinear"] == 5
    assert shown["format"] == "ai.onnx 18, com.microsoft 1"
    assert "quantized" in shown["notes"][0]
    with pytest.raises(UsageError, match="is none yet"):
        CliRunner().invoke(inspect, [*command, "--target", "esp32"], catch_exceptions=False)


def test_a_float_model_has_no_such_notes(runner: WorkerProcess, tmp_path: Path) -> None:
    nodes = [node("ReduceMean", "x axes", "pooled", keepdims=0), node("Relu", "pooled", "out")]
    save(nodes, Weights(), tmp_path / "float.onnx")
    x = np.ones((2, 3, 9, 8), np.float32)
    notes, given = reference(runner, tmp_path / "float.onnx", "onnx", x)
    assert notes == []
    assert np.array_equal(given, np.ones((2, 3)))


def test_a_quantized_program_of_pt2e_becomes_float(tmp_path: Path) -> None:
    import torch.ao.quantization.fx._decomposed

    operators = torch.ops.quantized_decomposed
    weights = Weights()

    class Quantized(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kernel", torch.from_numpy(weights.kernel))
            self.register_buffer("scale", torch.from_numpy(weights.kernel_scale))
            self.register_buffer("zero", torch.zeros(6, dtype=torch.int64))
            self.linear = torch.nn.Linear(6, 4)

        def rounded(self, value: Any, scale: float, low: int) -> Any:
            parameters = (scale, 0, low, 127, torch.int8)
            whole = operators.quantize_per_tensor(value, *parameters)
            return operators.dequantize_per_tensor(whole, *parameters)

        def forward(self, x: Any) -> Any:
            kernel = operators.dequantize_per_channel(
                self.kernel, self.scale, self.zero, 0, -127, 127, torch.int8
            )
            y = torch.nn.functional.conv2d(self.rounded(x, 0.04, -128), kernel).relu()
            matrix = self.rounded(self.linear.weight, 0.004, -127)
            pooled = self.rounded(y.mean((2, 3)), 0.02, -128)
            return torch.nn.functional.linear(pooled, matrix, self.linear.bias)

    model = Quantized().eval()
    path = tmp_path / "program.pt2"
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 9, 8),)), path)
    x = np.random.default_rng(8).normal(size=(4, 3, 9, 8)).astype(np.float32)
    with WorkerProcess("torch", tmp_path / "log") as worker:
        notes, given = reference(worker, path, "exported_program", x)
    kernel = torch.from_numpy(weights.kernel * weights.kernel_scale[:, None, None, None])
    with torch.inference_mode():
        y = torch.nn.functional.conv2d(torch.from_numpy(x), kernel).relu().mean((2, 3))
        matrix = (model.linear.weight / 0.004).round().clamp(-127, 127) * 0.004
        right = torch.nn.functional.linear(y, matrix, model.linear.bias)
    np.testing.assert_allclose(given, right.numpy(), rtol=1e-4, atol=1e-6)
    assert "dequantize_per_channel" in notes[0]
