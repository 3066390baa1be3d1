"""A tiny float net as a real `.tflite`, made without a converter, and its NumPy oracle.

``image (1, 8, 8, 3) → CONV_2D 3×3 SAME + RELU → FULLY_CONNECTED → scores (1, 5)``
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgekit.tflite.model import Model, write

Array: TypeAlias = npt.NDArray[np.float32]

IMAGE = (1, 8, 8, 3)
CLASSES = 5
CHANNELS = 4


@dataclass(frozen=True)
class Weights:
    kernel: Array  # (out, height, width, in)
    kernel_bias: Array
    dense: Array  # (classes, features)
    dense_bias: Array


def random_weights(seed: int = 0) -> Weights:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    features = IMAGE[1] * IMAGE[2] * CHANNELS
    return Weights(
        normal(CHANNELS, 3, 3, IMAGE[3]),
        normal(CHANNELS),
        normal(CLASSES, features),
        normal(CLASSES),
    )


def oracle(weights: Weights, image: Array) -> Array:
    """What the net computes, in float64: (1, 8, 8, 3) to (1, 5)."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    features = np.einsum("nhwcij,oijc->nhwo", windows, weights.kernel) + weights.kernel_bias
    return np.maximum(features, 0).reshape(1, -1) @ weights.dense.T + weights.dense_bias


def empty_model(description: str = "edgekit test") -> Model:
    subgraph = schema.SubGraphT(name="main", tensors=[], operators=[], inputs=[], outputs=[])
    return Model(
        schema.ModelT(
            version=3,
            description=description,
            operatorCodes=[],
            subgraphs=[subgraph],
            buffers=[schema.BufferT()],
        )
    )


def tiny_net(weights: Weights) -> Model:
    model = empty_model()
    graph = model.main
    image = graph.add_tensor("image", IMAGE, "float32")
    kernel = graph.add_tensor("kernel", weights.kernel.shape, "float32", weights.kernel)
    kernel_bias = graph.add_tensor("kernel_bias", (CHANNELS,), "float32", weights.kernel_bias)
    dense = graph.add_tensor("dense", weights.dense.shape, "float32", weights.dense)
    dense_bias = graph.add_tensor("dense_bias", (CLASSES,), "float32", weights.dense_bias)
    features = graph.add_tensor("features", (*IMAGE[:3], CHANNELS), "float32")
    scores = graph.add_tensor("scores", (1, CLASSES), "float32")
    graph.insert_operator(
        0, "CONV_2D", [image, kernel, kernel_bias], [features], options=_convolution()
    )
    graph.insert_operator(
        1,
        "FULLY_CONNECTED",
        [features, dense, dense_bias],
        [scores],
        options=schema.FullyConnectedOptionsT(),
    )
    graph.raw.inputs, graph.raw.outputs = [image.index], [scores.index]
    _add_signature(model, image=image.index, scores=scores.index)
    return model


@cache
def tiny_bytes() -> bytes:
    """The float file of `random_weights`."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "tiny.tflite")
        write(tiny_net(random_weights()), path)
        return path.read_bytes()


@cache
def quantized_bytes(recipe_name: str) -> bytes:
    """The tiny net after litert-quantizer with the recipe of that name."""
    from litert_quantizer import quantizer, recipe

    with TemporaryDirectory() as folder:
        path = Path(folder, "tiny.tflite")
        path.write_bytes(tiny_bytes())
        tool = quantizer.Quantizer(str(path))
        tool.load_quantization_recipe(getattr(recipe, recipe_name)())
        calibration = None
        if tool.need_calibration:
            data = [{"image": random_image(seed)} for seed in range(8)]
            calibration = tool.calibrate({"serving_default": data})
        return bytes(tool.quantize(calibration).quantized_model)


def random_image(seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, IMAGE).astype(np.float32)


def invoke(path: Path, *inputs: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Run a file with the real interpreter."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _convolution() -> Any:
    return schema.Conv2DOptionsT(
        padding=schema.Padding.SAME,
        strideH=1,
        strideW=1,
        fusedActivationFunction=schema.ActivationFunctionType.RELU,
    )


def _add_signature(model: Model, *, image: int, scores: int) -> None:
    model.raw.signatureDefs = [
        schema.SignatureDefT(
            signatureKey="serving_default",
            inputs=[schema.TensorMapT(name="image", tensorIndex=image)],
            outputs=[schema.TensorMapT(name="scores", tensorIndex=scores)],
        )
    ]
