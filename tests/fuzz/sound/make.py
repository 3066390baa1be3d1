"""Makes the small sound models beside it: ``python tests/fuzz/sound/make.py``.

They are kept, so that the short campaign needs no framework.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import torch
from net import build
from onnx import helper, numpy_helper
from safetensors.torch import save_file

HERE = Path(__file__).parent


def main() -> None:
    """Write all of them."""
    draw = np.random.default_rng(0)
    numbers = draw.random((3, 4), np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
            helper.make_node("Relu", ["h"], ["y"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 3))],
        [numpy_helper.from_array(numbers, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, HERE / "net.onnx")

    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, "relu", name="y")])
    net.save(HERE / "net.keras")
    net.save(HERE / "net.h5")

    class Linear(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(numbers.T)

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, "x")])
        def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.nn.relu(x @ self.w)}

    shutil.rmtree(HERE / "saved_model", ignore_errors=True)
    linear = Linear()
    tf.saved_model.save(linear, HERE / "saved_model", {"serving_default": linear.__call__})

    torch.manual_seed(0)
    layer = build().eval()
    torch.jit.script(layer).save(HERE / "script.pt")
    torch.export.save(torch.export.export(layer, (torch.rand(1, 4),)), HERE / "net.pt2")
    torch.save(layer.state_dict(), HERE / "state.pt")
    save_file(layer.state_dict(), HERE / "state.safetensors")


if __name__ == "__main__":
    main()
