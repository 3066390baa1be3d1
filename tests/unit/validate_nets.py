"""Small nets with contracts, pictures in class folders, and what the interpreter says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from quantize_nets import Net

from edgekit.contract import Contract, InputContract, OutputContract, Preprocess, Task
from edgekit.tflite.metadata import embed_contract
from edgekit.types import TensorSpec

SIZE = 16
PREPROCESS = Preprocess(resize=(SIZE, SIZE), scale=1 / 255, mean=(0.5,), std=(0.25,))


def contract(
    *,
    task: Task | None = "classification",
    labels: Sequence[str] = (),
    preprocess: Preprocess | None = PREPROCESS,
    classes: int = 5,
    size: int = SIZE,
) -> Contract:
    """What a classifier of small pictures says about itself."""
    image = TensorSpec(name="image", shape=(1, size, size, 3), layout="NHWC")
    scores = TensorSpec(name="scores", shape=(1, classes))
    return Contract(
        inputs=(InputContract(tensor=image, preprocess=preprocess),),
        outputs=(OutputContract(tensor=scores, task=task, labels=tuple(labels)),),
    )


def classifier(
    path: Path,
    *,
    classes: int = 5,
    noise: float = 0.0,
    size: int = SIZE,
    said: Contract | None = None,
    second: bool = False,
    swap: bool = False,
    change: Callable[[Net], None] | None = None,
) -> Path:
    """A convolution and a dense layer.

    Args:
        path: where it goes.
        classes: how many scores.
        noise: added to the dense weights; the same seed for all.
        size: of its pictures.
        said: its contract.
        second: has the features as another output, ``features``.
        swap: with the outputs in the other order, under names that say nothing.
        change: what else is done to the net.
    """
    net = Net(1, size, size, 3)
    features = net.conv(net.image, "features", 4, stride=4, activation="RELU")
    scores = net.dense(features, "scores", classes)
    weights = net.graph.operators[-1].inputs[1]
    assert weights is not None
    values = weights.data()
    spread = np.random.default_rng(7).normal(0, 1, values.shape)
    weights.set_data((values + noise * spread).astype(np.float32))
    if change is not None:
        change(net)
    outputs = [scores, features] if second else [scores]
    if swap:
        outputs.reverse()
        for number, tensor in enumerate(outputs):
            tensor.raw.name = f"out_{number}".encode()
    net.save(path, *outputs)
    given = contract(classes=classes, size=size) if said is None else said
    if second:
        more = OutputContract(tensor=TensorSpec(name="features", shape=(1, 4, 4, 4)))
        given = replace(given, outputs=(*given.outputs, more))
    if not swap:
        embed_contract(path, path, given)
    return path


def pictures(
    folder: Path, count: int = 20, classes: Sequence[str] = (), size: int = 24, seed: int = 3
) -> list[Path]:
    """Pictures of noise and colour; with classes in a folder each, in turn."""
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(count):
        below = folder / classes[number % len(classes)] if classes else folder
        below.mkdir(parents=True, exist_ok=True)
        base = rng.integers(0, 255, (3, 3, 3)).astype(np.uint8)
        pixels = cv2.resize(base, (size, size + 4), interpolation=cv2.INTER_CUBIC)
        path = below / f"{number:03d}.png"
        cv2.imwrite(str(path), pixels)
        paths.append(path)
    return paths


def scores_of(path: Path, picture: Path, size: int = SIZE) -> np.ndarray:
    """The scores for one picture, by OpenCV and the interpreter alone."""
    pixels = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)
    pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    value = ((pixels.astype(np.float32) / 255 - 0.5) / 0.25)[None]
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
