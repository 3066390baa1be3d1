"""A graph that normalises by itself is told from one that merely begins with an affine layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantize_nets import Net

from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.errors import UsageError
from edgekit.pipeline.probe import check_graph, refuse_contradictions
from edgekit.types import TensorSpec
from edgekit.validation.probe_graph import contradiction, graph_slip, own_normalization

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
OPTIONS = {
    "MUL": schema.MulOptionsT,
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "DIV": schema.DivOptionsT,
}
RANGES = {
    "0…1": (0.0, 1.0),
    "0…255": (0.0, 255.0),
    "−1…1": (-1.0, 1.0),
    "ImageNet": (-2.118, 2.64),
    "less the mean": (-124.0, 152.0),
}
Step = tuple[str, float | Sequence[float]]


def net_of(*steps: Step, pad: bool = False) -> Net:
    net = Net(1, 8, 8, 3)
    tensor = net.image
    for number, (kind, value) in enumerate(steps):
        constant = net.constant(f"c{number}", np.asarray(value, np.float32).reshape(-1))
        tensor = net.operator(kind, [tensor, constant], f"t{number}", (1, 8, 8, 3), OPTIONS[kind]())
    if pad:
        paddings = net.constant("paddings", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        tensor = net.operator("PAD", [tensor, paddings], "padded", (1, 10, 10, 3))
    net.output = net.conv(tensor, "conv", 4)
    return net


def slips_of(net: Net, folder: Path) -> dict[str, str]:
    """By the range that is fed, the option that the check asks for."""
    from edgekit.tflite.model import read

    graph = read(net.save(folder / "net.tflite", net.output)).main
    own = own_normalization(graph, graph.inputs[0])
    found = {name: own and graph_slip(own, fed) for name, fed in RANGES.items()}
    return {name: slip.option for name, slip in found.items() if slip}


PIXELS = "--scale 1 --mean 0 --std 1"
UNIT = "--scale 1/255 --mean 0 --std 1"


@pytest.mark.parametrize(
    "steps",
    [
        [("MUL", 1 / 127.5), ("ADD", -1.0)],  # Rescaling(1/127.5, -1)
        [("DIV", 127.5), ("SUB", 1.0)],
        [("MUL", 1 / 255)],  # Rescaling(1/255)
        [("DIV", 255.0), ("SUB", MEAN), ("DIV", STD)],
        [("SUB", 255 * MEAN), ("MUL", 1 / 255 / STD)],  # Normalization
        [("SUB", [123.68, 116.78, 103.94])],  # the mean only, as Caffe's models
        [("MUL", [0.017, 0.015, 0.016]), ("ADD", [-2.0, -1.8, -1.9])],  # a batch norm on pixels
    ],
)
def test_a_graph_that_expects_pixels(steps, tmp_path):
    wanted = {"0…1": PIXELS, "−1…1": PIXELS, "ImageNet": PIXELS}
    assert slips_of(net_of(*steps), tmp_path) == wanted
    assert slips_of(net_of(*steps, pad=True), tmp_path) == wanted


@pytest.mark.parametrize(
    "steps",
    [[("SUB", MEAN), ("DIV", STD)], [("SUB", 0.5), ("DIV", 0.5)], [("MUL", 2.0), ("SUB", 1.0)]],
)
def test_a_graph_that_expects_values_up_to_1(steps, tmp_path):
    found = slips_of(net_of(*steps), tmp_path)
    assert found == dict.fromkeys(("0…255", "−1…1", "ImageNet", "less the mean"), UNIT)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [("MUL", [0.8, 1.1, 0.9]), ("ADD", [0.1, -0.2, 0.0])],  # a batch norm on normalised values
        [("MUL", [4.9, 4.7, 4.6]), ("ADD", [-2.0, -2.1, -1.9])],  # one on values 0…1
        [("MUL", 0.05)],
        [("ADD", 1.0)],
        [("MUL", 3.0), ("ADD", 0.5)],
    ],
)
def test_an_affine_first_layer_is_no_slip(steps, tmp_path):
    assert slips_of(net_of(*steps), tmp_path) == {}


def test_random_batch_norms_are_no_slip(tmp_path):
    """Statistics of what they were trained on, factors of order 1: fed with just that."""
    rng = np.random.default_rng(0)
    for low, high in (RANGES["0…1"], RANGES["−1…1"], RANGES["ImageNet"], RANGES["0…255"]):
        for _ in range(10):
            width = high - low
            mean = low + width * rng.uniform(0.3, 0.6, 3)
            std = width * rng.uniform(0.15, 0.35, 3)
            gain = rng.uniform(0.3, 2, 3) / std
            net = net_of(("MUL", gain), ("ADD", rng.normal(0, 0.3, 3) - mean * gain))
            name = next(key for key, value in RANGES.items() if value == (low, high))
            assert name not in slips_of(net, tmp_path)


def test_an_input_with_two_readers_tells_nothing(tmp_path):
    net = net_of(("MUL", 1 / 255))
    second = net.conv(net.image, "other", 4)
    net.output = net.operator(
        "ADD", [net.output, second], "sum", (1, 8, 8, 4), schema.AddOptionsT()
    )
    assert slips_of(net, tmp_path) == {}


def test_a_files_contract_is_held_against_its_graph(tmp_path):
    path = net_of(("MUL", 1 / 127.5), ("ADD", -1.0))
    file = path.save(tmp_path / "net.tflite", path.output)
    spec = TensorSpec(name="whatever", shape=(1, 8, 8, 3), layout="NHWC")

    def contract(preprocess: Preprocess | None) -> Contract:
        return Contract(inputs=(InputContract(tensor=spec, preprocess=preprocess),))

    found = check_graph(file, contract(Preprocess(scale=1 / 255)))
    assert found is not None
    assert found.sentence == (
        "The graph normalises its input by itself (MUL, ADD) and expects 0…255, but the contract "
        "feeds 0…1, of which it makes -1…-0.9922"
    )
    assert check_graph(file, contract(Preprocess())) is None
    assert check_graph(file, contract(None)) is None


@pytest.mark.parametrize(
    ("preprocess", "option"),
    [
        (Preprocess(scale=255), "--scale 1/255"),
        (Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), "--scale 1/255"),
        (Preprocess(mean=(0.5,), std=(0.5,)), "--scale 1/255"),
        (Preprocess(scale=1 / 255, mean=(127.5,), std=(127.5,)), "--scale 1"),
        (Preprocess(scale=1 / 255, mean=(123.7, 116.8, 103.9)), "--scale 1"),
        (Preprocess(scale=1 / 255**2), "--scale 1/255"),
    ],
)
def test_a_preprocessing_that_contradicts_itself_is_refused(preprocess, option):
    found = contradiction(preprocess)
    assert found is not None
    assert found.option == option
    spec = TensorSpec(name="image", shape=(1, 3, 8, 8))
    contract = Contract(inputs=(InputContract(tensor=spec, preprocess=preprocess),))
    with pytest.raises(UsageError, match="contradicts itself") as caught:
        refuse_contradictions(contract, accepted=False)
    assert option in caught.value.cure
    refuse_contradictions(contract, accepted=True)


@pytest.mark.parametrize(
    "preprocess",
    [
        Preprocess(),
        Preprocess(scale=1 / 255),
        Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Preprocess(mean=(123.7, 116.8, 103.9), std=(58.4, 57.1, 57.4)),
        Preprocess(mean=(127.5,), std=(127.5,)),
        Preprocess(scale=1 / 127.5, mean=(1.0,)),
        Preprocess(color="BGR", mean=(103.9, 116.8, 123.7)),
        Preprocess(scale=1 / 255, mean=(0.9,), std=(0.1,)),
        Preprocess(scale=1 / 255, mean=(0.1307,), std=(0.3081,)),
        Preprocess(scale=-1 / 255, mean=(-1.0,)),
        Preprocess(scale=1 / 16),
    ],
)
def test_usual_preprocessings_contradict_nothing(preprocess):
    assert contradiction(preprocess) is None
