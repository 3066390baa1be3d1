"""Routes that fail or lie, and models of unusual shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.errors import ConversionError
from edgekit.results import ConversionResult

pytestmark = pytest.mark.e2e

NETS = '''
"""Small models that converters stumble over."""
import torch
from torch import nn


class Cube(nn.Module):
    """Height, width and channels are all 32: no shape tells which axis is which."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)

    def forward(self, x):
        y = torch.relu(self.second(torch.relu(self.first(x))))
        return y + x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)


class Ring(nn.Module):
    """A panorama's left edge continues at its right: onnx2tf knows no circular padding."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")

    def forward(self, x):
        return torch.relu(self.conv(x)).mean(2)


class TwoByTwo(nn.Module):
    """Two inputs, two outputs of different shape in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(3, 8, 3, stride=2), nn.Linear(10, 8)
        self.scores = nn.Linear(8, 5)

    def forward(self, image, vector):
        features = torch.relu(self.conv(image))
        return {"scores": self.scores(features.mean((2, 3)) + self.linear(vector)), "map": features}


class Recurrent(nn.Module):
    """An LSTM over 20 steps; only the last one counts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.head = nn.LSTM(12, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def cube(): return Cube()
def ring(): return Ring()
def two_by_two(): return TwoByTwo()
def recurrent(): return Recurrent()
'''


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nets")
    (folder / "odd_nets.py").write_text(NETS, encoding="utf-8")
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=(40, *shape)).astype(np.float32)

    np.save(folder / "cube.npy", normal(32, 32, 32))
    np.save(folder / "ring.npy", normal(3, 10, 14))
    np.save(folder / "recurrent.npy", normal(20, 12))
    np.savez(folder / "two.npz", image=normal(3, 33, 31), vector=normal(10))
    return folder


def convert(
    nets: Path, name: str, data: str, inputs: list[str], **more: object
) -> ConversionResult:
    return edgekit.convert(
        f"{nets}/odd_nets.py:{name}",
        calibration=nets / data,
        inputs=inputs,
        output=nets / f"{name}_{more.get('route', 'auto')}",
        schemes=["fp32", "int8"],
        **more,  # type: ignore[arg-type]
    )


def test_a_silently_wrong_route_is_caught_and_the_next_one_used(nets: Path) -> None:
    result = convert(nets, "cube", "cube.npy", ["x:1x32x32x32"])
    wrong, used = result.attempts
    assert (wrong.route, wrong.state) == ("onnx2tf", "abandoned")
    assert "does not equal the framework" in wrong.why
    onnx, tflite = wrong.stages
    assert onnx.worst_output.sqnr_db > 100  # the export was right, the conversion was not
    assert tflite.worst_output.sqnr_db < 60
    assert (used.route, used.state) == ("litert_torch", "used")
    assert used.stages[-1].worst_output.sqnr_db > 100
    assert result.passed


def test_a_forced_route_that_is_wrong_leaves_no_file(nets: Path) -> None:
    with pytest.raises(ConversionError, match="does not equal the framework"):
        convert(nets, "cube", "cube.npy", ["x:1x32x32x32"], route="onnx2tf")
    assert not (nets / "cube_onnx2tf").exists()


def test_what_onnx2tf_has_no_form_of_is_written_out_before_it(nets: Path) -> None:
    result = convert(nets, "ring", "ring.npy", ["x:1x3x10x14"], preprocess={"scale": 1.0})
    (used,) = result.attempts
    assert (used.route, used.state) == ("onnx2tf", "used")
    assert result.files[0].parity is not None
    assert result.files[0].parity.worst_output.sqnr_db > 90


def test_two_inputs_and_two_outputs_keep_their_names_and_layouts(nets: Path) -> None:
    result = convert(
        nets, "two_by_two", "two.npz", ["image:1x3x33x31", "vector:1x10"], preprocess={"scale": 1.0}
    )
    assert result.passed
    parity = result.files[0].parity
    assert parity is not None
    assert {output.name for output in parity.outputs} == {"scores", "map"}
    assert all(output.sqnr_db > 90 for output in parity.outputs)


def test_lstm(nets: Path) -> None:
    result = convert(nets, "recurrent", "recurrent.npy", ["x:1x20x12"])
    floating, int8 = result.files
    assert floating.verdict.state != "fail"
    assert int8.parity is not None
    # litert-quantizer leaves the recurrence in float, and the report must not hide it.
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in int8.float_ops
    assert int8.integer_share is not None
    assert int8.integer_share < 1
    assert not int8.verdict.passed
    (failed,) = [gate for gate in int8.verdict.gates if gate.gate.metric == "integer_share"]
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in failed.why
    # PyTorch starts each call afresh, and so does the file, though TFLite's kernel has variables.
    assert floating.parity is not None
    assert floating.parity.worst_output.sqnr_db > 110
    assert not any("keeps state" in note for note in result.notes)
