"""int8 of models that were quantized already: their scales, their integers, their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit
from edgekit.results import ConversionResult
from edgekit.tflite.model import read

from .conftest import run_python, tflite_outputs

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.e2e

HELPER = onnx.helper


class Learned:
    """A small network with every kind of layer, in int8 as training might have left it.

    No channel's largest weight reaches 127, ranges are narrower than the values, zero points are
    anywhere: nothing of it could be found out again from the float form.
    """

    def __init__(self, kind: str) -> None:
        self.random = np.random.default_rng(11)
        self.type = np.dtype(kind)
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.weights: list[tuple[np.ndarray, np.ndarray]] = []
        self.scales: list[tuple[float, int]] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(HELPER.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def rounded(self, value: str, low: float, high: float) -> str:
        limits = np.iinfo(self.type)
        scale = np.float32((high - low) / 255)
        zero = self.type.type(round(limits.min - low / float(scale)))
        self.scales.append((float(scale), int(zero) - limits.min - 128))
        ends = self.constant(scale), self.constant(zero)
        return self.node("DequantizeLinear", self.node("QuantizeLinear", value, *ends), *ends)

    def stored(self, shape: tuple[int, ...], axis: int, size: float) -> str:
        whole = self.random.integers(-100, 101, shape).astype(np.int8)
        steps = (self.random.uniform(0.5, 1.5, shape[axis]) * size / 60).astype(np.float32)
        self.weights.append((np.moveaxis(whole, axis, 0), steps))
        zeros = self.constant(np.zeros(shape[axis], np.int8))
        names = self.constant(whole), self.constant(steps), zeros
        return self.node("DequantizeLinear", *names, axis=axis)

    def save(self, path: Path, output: str) -> None:
        graph = HELPER.make_graph(
            self.nodes,
            "learned",
            [HELPER.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 12, 12])],
            [HELPER.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 5])],
            [onnx.numpy_helper.from_array(v, name) for name, v in self.constants.items()],
        )
        opset = [HELPER.make_opsetid("", 17)]
        onnx.save(HELPER.make_model(graph, opset_imports=opset, ir_version=9), path)


def learned(path: Path, kind: str) -> Learned:
    net = Learned(kind)
    x = net.rounded("x", -1.8, 2.2)
    x = net.node("Conv", x, net.stored((8, 3, 3, 3), 0, 0.25), pads=[1, 1, 1, 1])
    x = net.rounded(net.node("Relu", x), 0.0, 2.5)
    y = net.node("Conv", x, net.stored((8, 1, 3, 3), 0, 0.4), pads=[1, 1, 1, 1], group=8)
    y = net.rounded(y, -1.5, 1.9)
    x = net.rounded(net.node("Add", x, y), -1.2, 3.1)
    x = net.node("Conv", x, net.stored((6, 8, 1, 1), 0, 0.4), strides=[2, 2])
    x = net.rounded(net.node("HardSwish", x), -0.375, 2.0)
    axes = {"axes": [2, 3], "keepdims": 0}
    x = net.rounded(net.node("ReduceMean", x, **axes), -0.3, 1.1)
    x = net.rounded(net.node("MatMul", x, net.stored((6, 5), 1, 0.5)), -1.6, 1.4)
    net.save(path, x)
    return net


def convert(model: Path, data: Path, **options: Any) -> ConversionResult:
    return edgekit.convert(
        model,
        calibration=data,
        schemes=["fp32", "int8"],
        accept_few=True,
        **{"output": model.with_suffix(""), **options},
    )


@pytest.fixture(scope="module", params=["uint8", "int8"])
def converted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Learned, Path, np.ndarray, ConversionResult]:
    folder = tmp_path_factory.mktemp("learned")
    net = learned(folder / "net.onnx", request.param)
    x = np.random.default_rng(5).normal(size=(60, 3, 12, 12)).astype(np.float32)
    np.save(folder / "x.npy", x)
    return net, folder / "net.onnx", x, convert(folder / "net.onnx", folder / "x.npy")


def int8_file(result: ConversionResult) -> Path:
    return next(file.artifact.path for file in result.files if file.scheme == "int8")


def test_weights_are_the_integers_of_the_source(converted):
    net, _, _, result = converted
    constants = [
        tensor
        for tensor in read(int8_file(result)).main.tensors
        if tensor.is_constant and tensor.dtype == "int8"
    ]
    for whole, steps in net.weights:
        found = [
            tensor
            for tensor in constants
            if np.array_equal(np.sort(tensor.data(), None), np.sort(whole, None))
        ]
        assert len(found) == 1
        np.testing.assert_allclose(found[0].quantization.scales, steps, rtol=2e-7)


def test_scales_and_zero_points_are_those_of_the_source(converted):
    net, _, _, result = converted
    have = [
        (t.quantization.scales[0], t.quantization.zero_points[0])
        for t in read(int8_file(result)).main.tensors
        if t.quantization is not None and not t.is_constant
    ]
    for scale, zero in net.scales:
        near = [z for s, z in have if s == pytest.approx(scale, rel=1e-6)]
        assert zero in near


def test_the_file_answers_as_the_quantized_model(converted):
    from ai_edge_litert.interpreter import Interpreter

    _, model, x, result = converted
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options)
    interpreter = Interpreter(str(int8_file(result)))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (step, shift) = given["quantization"], wanted["quantization"]
    distances = []
    for sample in x:
        whole = np.clip(np.rint(sample / scale) + zero, -128, 127).astype(np.int8)
        if tuple(given["shape"]) != (1, *sample.shape):
            whole = whole.transpose(1, 2, 0)
        interpreter.set_tensor(given["index"], whole[None])
        interpreter.invoke()
        got = (interpreter.get_tensor(wanted["index"]).astype(np.float64) - shift) * step
        distances.append(np.abs(got - session.run(None, {"x": sample[None]})[0]) / step)
    assert np.mean(np.array(distances) < 1.01) > 0.99
    assert any("compared with the quantized model itself: " in note for note in result.notes)


def test_new_scales_are_chosen_where_the_user_wants_them(converted, tmp_path):
    net, model, x, _ = converted
    np.save(tmp_path / "x.npy", x)
    copy = tmp_path / "net.onnx"
    copy.write_bytes(model.read_bytes())
    result = convert(copy, tmp_path / "x.npy", keep_scales=False, effort="none")
    have = [
        tensor.quantization.scales[0]
        for tensor in read(int8_file(result)).main.tensors
        if tensor.quantization is not None and not tensor.is_constant
    ]
    assert net.scales[-1][0] not in [pytest.approx(scale, rel=1e-3) for scale in have]


FAKE_QUANT = """
import numpy as np, tensorflow as tf

class Net(tf.Module):
    def __init__(self):
        random = np.random.default_rng(0)
        self.kernel = tf.Variable(random.normal(size=(3, 3, 1, 8)).astype("f") / 3)
        self.matrix = tf.Variable(random.normal(size=(8, 5)).astype("f") / 2)

    @tf.function
    def run(self, x):
        fake = lambda v, *ends: tf.quantization.fake_quant_with_min_max_args(v, *ends)
        ends = 1.2 * tf.reduce_max(tf.abs(self.kernel), [0, 1, 2])
        kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            self.kernel, -ends, ends, 8, True)
        y = tf.nn.relu(tf.nn.conv2d(fake(x, -1.5, 2.0), kernel, 1, "SAME"))
        y = tf.reduce_mean(fake(y, 0.0, 1.5), [1, 2])
        y = fake(y, 0.0, 0.9) @ fake(self.matrix, -1.9, 1.9, 8, True)
        return {"scores": fake(y, -0.8, 0.9)}

net = Net()
x = np.random.default_rng(1).normal(size=(60, 8, 8, 1)).astype("f")
spec = tf.TensorSpec((1, 8, 8, 1), name="x")
tf.saved_model.save(net, "fake", net.run.get_concrete_function(spec))
np.save("x.npy", x)
np.save("said.npy", np.concatenate([net.run(one[None])["scores"] for one in x]))
"""


def test_fake_quant_of_tensorflow_is_kept(tmp_path):
    run_python(FAKE_QUANT, tmp_path)
    result = convert(tmp_path / "fake", tmp_path / "x.npy", output=tmp_path / "files")
    assert any("4 of 4 activations and 2 of 2 weights" in note for note in result.notes)
    file = int8_file(result)
    step = read(file).main.outputs[0].quantization.scales[0]
    distance = np.abs(
        tflite_outputs(file, np.load(tmp_path / "x.npy")[:, None]) - np.load(tmp_path / "said.npy")
    )
    assert np.mean(distance < 1.01 * step) > 0.99


KERAS_INT8 = """
import keras, numpy as np

keras.utils.set_random_seed(0)
layers = keras.layers
given = keras.Input((8, 8, 1), name="x")
value = layers.Conv2D(8, 3, activation="relu")(given)
value = layers.EinsumDense("bijc,cd->bijd", output_shape=(6, 6, 6), bias_axes="d")(value)
net = keras.Model(given, layers.Dense(5)(layers.Flatten()(value)))
x = np.random.default_rng(1).normal(size=(60, 8, 8, 1)).astype("f")
np.save("x.npy", x)
np.save("unquantized.npy", net(x))
net.quantize("int8")
net.save("net.keras")
"""


def test_layers_that_keras_has_quantized_become_float(tmp_path):
    run_python(KERAS_INT8, tmp_path)
    result = convert(tmp_path / "net.keras", tmp_path / "x.npy")
    assert any("1 int8 Dense" in note or "int8 EinsumDense" in note for note in result.notes)
    file = next(one.artifact.path for one in result.files if one.scheme == "fp32")
    said, right = (
        tflite_outputs(file, np.load(tmp_path / "x.npy")[:, None]),
        np.load(tmp_path / "unquantized.npy"),
    )
    # Weights alone are rounded in the float form, to 1/254 of each channel's largest.
    assert np.sqrt(np.mean((said - right) ** 2)) < 0.02 * right.std()
