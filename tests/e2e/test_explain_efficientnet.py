"""The faults that `edgekit explain` must find, each planted into EfficientNet-Lite0."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "unit"))

from explain_nets import explained

from edgekit.contract import Contract
from edgekit.tflite.metadata import embed_contract, read_contract
from edgekit.tflite.model import Model, Operator, read, write

pytestmark = pytest.mark.e2e

DATA = Path(__file__).parents[2] / "calibration_data"
Fault = tuple[str, Callable[[Model], str], Callable[[Contract], Contract], str]


def convolutions(model: Model) -> list[Operator]:
    return [one for one in model.main.operators if one.name == "CONV_2D"]


def shuffled(model: Model) -> str:
    """One layer's weights in another order."""
    layer = convolutions(model)[12]
    weights: Any = layer.inputs[1]
    values = np.random.default_rng(0).permutation(weights.data().reshape(-1))
    weights.set_data(values.reshape(weights.shape))
    return layer.outputs[0].name


def transposed(model: Model) -> str:
    """A square feature map with height and width swapped."""
    graph = model.main
    maps = [one for one in convolutions(model) if one.outputs[0].shape[1:3] == (14, 14)]
    reader, source = maps[1], maps[1].inputs[0]
    name = reader.outputs[0].name
    assert source is not None
    order = graph.add_tensor("order", (4,), "int32", np.array([0, 2, 1, 3], np.int32))
    turned = graph.add_tensor("turned", source.shape, "float32")
    graph.insert_operator(reader.index, "TRANSPOSE", [source, order], [turned])
    reader = next(one for one in graph.operators if one.outputs[0].name == name)
    reader.raw.inputs = [turned.index, *reader.raw.inputs[1:]]
    return name


def saturating(model: Model) -> str:
    """One layer's range is a sixth of what its values need."""
    result = convolutions(model)[8].outputs[0]
    result.raw.quantization.scale = np.array(result.raw.quantization.scale) / 6
    return result.name


def nothing(model: Model) -> str:
    return model.main.inputs[0].name


def same(said: Contract) -> Contract:
    return said


def bgr(said: Contract) -> Contract:
    steps: Any = said.inputs[0].preprocess
    return _with(said, replace(steps, color="BGR", mean=steps.mean[::-1], std=steps.std[::-1]))


def other_normalisation(said: Contract) -> Contract:
    steps: Any = said.inputs[0].preprocess
    return _with(said, replace(steps, mean=(0.5,), std=(0.5,)))


def _with(said: Contract, steps: Any) -> Contract:
    return replace(said, inputs=(replace(said.inputs[0], preprocess=steps),))


FAULTS: dict[str, Fault] = {
    "weights": ("int8", shuffled, same, "weights-corrupted"),
    "channels": ("int8", nothing, bgr, "channel-order"),
    "normalisation": ("int8", nothing, other_normalisation, "normalisation"),
    "transposed": ("fp32", transposed, same, "transposed-layout"),
    "saturation": ("int8", saturating, same, "saturation"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_is_the_first_that_is_found(
    fault: str, efficientnet: Path, tmp_path: Path
) -> None:
    scheme, change, restated, cause = FAULTS[fault]
    source = efficientnet / f"efficientnet_lite0_{scheme}.tflite"
    said = read_contract(source)
    assert said is not None
    model = read(source)
    name = change(model)
    candidate = tmp_path / "candidate.tflite"
    write(model, candidate)
    embed_contract(candidate, candidate, restated(said))

    reference = efficientnet / "efficientnet_lite0_fp32.tflite"
    faults, verdict = explained(candidate, reference, DATA, tmp_path / "work", samples=1)

    assert (faults[0].name, faults[0].cause) == (name, cause)
    assert name in verdict
