"""Small `.tflite` files with contracts for `edgekit embed`: one for each way to decode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net

from edgekit.contract import (
    Contract,
    Decoder,
    InputContract,
    OutputContract,
    Preprocess,
    SequenceDecoder,
    Task,
)
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import Tensor
from edgekit.types import TensorSpec

SIZE = 16
PREPROCESS = Preprocess(
    resize=20, crop=(SIZE, SIZE), scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.3)
)


def net_with(
    path: Path,
    shapes: dict[str, Sequence[int]],
    *,
    task: Task | None,
    decoder: Decoder | SequenceDecoder | None = None,
    labels: Sequence[str] = (),
    preprocess: Preprocess | None = PREPROCESS,
    layouts: dict[str, str] | None = None,
    last: str | None = None,
    contract: bool = True,
) -> Path:
    """A net with outputs of these shapes by name; the first has the task, decoder and labels.

    Args:
        path: where it goes.
        shapes: of the outputs, with the batch axis.
        task, decoder, labels: of the first output.
        preprocess: of the picture.
        layouts: of the outputs.
        last: an operator on the first output, such as SOFTMAX.
        contract: whether the file has one.
    """
    net = Net(1, SIZE, SIZE, 3, seed=5)
    features = net.conv(net.image, "features", 6, stride=4, activation="RELU")
    outputs = [_output(net, features, name, shape) for name, shape in shapes.items()]
    if last is not None:
        options = schema.SoftmaxOptionsT(beta=1.0) if last == "SOFTMAX" else None
        outputs[0] = net.operator(last, [outputs[0]], "last", outputs[0].shape, options)
    net.save(path, *outputs)
    if contract:
        embed_contract(path, path, _contract(shapes, task, decoder, labels, preprocess, layouts))
    return path


def _output(net: Net, features: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    flat = net.dense(features, f"{name}_flat", int(np.prod(shape)))
    sizes = net.constant(f"{name}_shape", np.array(shape, np.int32))
    options = schema.ReshapeOptionsT(newShape=list(shape))
    return net.operator("RESHAPE", [flat, sizes], name, shape, options)


def _contract(shapes, task, decoder, labels, preprocess, layouts) -> Contract:
    image = TensorSpec(name="image", shape=(1, SIZE, SIZE, 3), layout="NHWC")
    outputs = [
        OutputContract(
            tensor=TensorSpec(name=name, shape=tuple(shape), layout=(layouts or {}).get(name)),
            task=task if number == 0 else None,
            decoder=decoder if number == 0 and isinstance(decoder, Decoder) else None,
            sequence=decoder if number == 0 and isinstance(decoder, SequenceDecoder) else None,
            labels=tuple(labels) if number == 0 else (),
        )
        for number, (name, shape) in enumerate(shapes.items())
    ]
    return Contract(
        inputs=(InputContract(tensor=image, preprocess=preprocess),), outputs=tuple(outputs)
    )


def anchors(path: Path, count: int) -> Path:
    """(N, 4) anchors in pixels."""
    rng = np.random.default_rng(2)
    np.save(path, rng.uniform(2, SIZE - 2, (count, 4)))
    return path
