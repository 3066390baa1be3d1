"""A detector whose one output has boxes in pixels beside scores of 0…1, as YOLO's heads do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import edgekit
from edgekit.results import ConversionResult
from edgekit.tflite.metadata import read_contract

from .conftest import REPOSITORY, run_python

pytestmark = pytest.mark.e2e

DETECTOR = '''
"""A small one-stage detector of coloured rectangles that decodes its boxes in the graph."""
import torch
from torch import nn

SIZE, CLASSES, STRIDES = 96, 3, (8, 16)


def block(inputs, outputs, stride):
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def head(inputs, outputs):
    return nn.Sequential(block(inputs, 24, 1), nn.Conv2d(24, outputs, 1))


class Detector(nn.Module):
    """With ``joined``, each level concatenates boxes and scores, as YOLOv8 does."""

    def __init__(self, joined):
        super().__init__()
        self.joined = joined
        self.fine = nn.Sequential(block(3, 12, 2), block(12, 24, 2), block(24, 32, 2))
        self.coarse = nn.Sequential(block(32, 48, 2), block(48, 48, 1))
        self.boxes = nn.ModuleList(head(width, 4) for width in (32, 48))
        self.scores = nn.ModuleList(head(width, CLASSES) for width in (32, 48))
        for branch in self.scores:
            nn.init.constant_(branch[-1].bias, -4.0)
        points, strides = [], []
        for stride in STRIDES:
            places = torch.arange(SIZE // stride) + 0.5
            y, x = torch.meshgrid(places, places, indexing="ij")
            points.append(torch.stack([x.flatten(), y.flatten()]))
            strides.append(torch.full((1, x.numel()), float(stride)))
        self.register_buffer("points", torch.cat(points, 1)[None], persistent=False)
        self.register_buffer("strides", torch.cat(strides, 1)[None], persistent=False)

    def raw(self, image):
        fine = self.fine(image)
        levels = list(zip(self.boxes, self.scores, (fine, self.coarse(fine))))
        if self.joined:
            joined = [torch.cat([box(m), score(m)], 1).flatten(2) for box, score, m in levels]
            return torch.cat(joined, 2).split([4, CLASSES], 1)
        boxes = torch.cat([box(m).flatten(2) for box, _, m in levels], 2)
        return boxes, torch.cat([score(m).flatten(2) for _, score, m in levels], 2)

    def forward(self, image):
        distances, logits = self.raw(image)
        before, after = distances.chunk(2, 1)
        first, last = self.points - before, self.points + after
        boxes = torch.cat([(first + last) / 2, last - first], 1) * self.strides
        return torch.cat([boxes, logits.sigmoid()], 1)


def joined():
    torch.manual_seed(0)
    return Detector(True)


def separate():
    torch.manual_seed(0)
    return Detector(False)
'''

TRAINING = """
import sys
from pathlib import Path
import cv2, numpy as np, torch
from torch.nn import functional as F
from detector import CLASSES, SIZE, joined

paths = sorted(Path(sys.argv[1]).glob("*.jpg"))
photos = [cv2.resize(cv2.imread(str(p))[..., ::-1], (SIZE, SIZE)) for p in paths]
COLORS = np.array([[230, 40, 40], [40, 220, 60], [50, 60, 230]])


def scene(rng):
    image, truth = photos[rng.integers(len(photos))].copy(), []
    for _ in range(rng.integers(1, 4)):
        w, h = rng.integers(12, 44, 2)
        x, y, kind = rng.integers(0, SIZE - w), rng.integers(0, SIZE - h), rng.integers(CLASSES)
        image[y:y + h, x:x + w] = np.clip(COLORS[kind] + rng.normal(0, 12, (h, w, 3)), 0, 255)
        truth.append((kind, x, y, x + w, y + h))
    return image.transpose(2, 0, 1).astype(np.float32) / 255, truth


def targets(net, truth):
    strides = net.strides[0, 0].numpy()
    cx, cy = net.points[0].numpy() * strides
    kinds, boxes = np.zeros((CLASSES, cx.size), np.float32), np.zeros((4, cx.size), np.float32)
    inside = np.zeros(cx.size, bool)
    for kind, a, b, c, d in truth:
        here = (abs(cx - (a + c) / 2) < np.maximum(strides, (c - a) / 4))
        here &= (abs(cy - (b + d) / 2) < np.maximum(strides, (d - b) / 4))
        here &= strides == (8 if max(c - a, d - b) < 28 else 16)
        kinds[:, here] = 0
        kinds[kind, here] = 1
        boxes[:, here] = (np.stack([cx - a, cy - b, c - cx, d - cy]) / strides)[:, here]
        inside |= here
    return kinds, boxes, inside


torch.set_num_threads(1)  # two wait for each other where the machine is shared
rng = np.random.default_rng(0)
net, steps = joined(), 100
optimiser = torch.optim.Adam(net.parameters(), 3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, steps)
for step in range(steps):
    scenes = [scene(rng) for _ in range(12)]
    images = torch.from_numpy(np.stack([image for image, _ in scenes]))
    wanted = zip(*(targets(net, truth) for _, truth in scenes))
    kinds, boxes, inside = (torch.from_numpy(np.stack(values)) for values in wanted)
    distances, logits = net.raw(images)
    count = inside.sum().clamp(1)
    loss = F.binary_cross_entropy_with_logits(logits, kinds, reduction="sum") / count
    error = F.smooth_l1_loss(distances, boxes, reduction="none") * inside[:, None]
    optimiser.zero_grad()
    (loss + error.sum() / count).backward()
    optimiser.step()
    schedule.step()
torch.save(net.state_dict(), "weights.pt")
rng = np.random.default_rng(1)
np.savez("scenes.npz", image=np.stack([scene(rng)[0] for _ in range(64)]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trained detector and scenes for it."""
    folder = tmp_path_factory.mktemp("detector")
    (folder / "detector.py").write_text(DETECTOR, encoding="utf-8")
    run_python(TRAINING, folder, str(REPOSITORY / "calibration_data"))
    return folder


def convert(folder: Path, factory: str, *, effort: str) -> ConversionResult:
    return edgekit.convert(
        f"{folder / 'detector.py'}:{factory}",
        weights=folder / "weights.pt",
        inputs=["image:1x3x96x96"],
        calibration=folder / "scenes.npz",
        schemes=["fp32", "int8", "int8-float-io"],
        effort=effort,
        output=folder / f"{factory}-{effort}",
    )


@pytest.fixture(scope="module", params=["joined", "separate"])
def balanced(folder: Path, request: pytest.FixtureRequest) -> ConversionResult:
    return convert(folder, request.param, effort="balanced")


def outputs(path: Path, scenes: np.ndarray) -> np.ndarray:
    """The model's output as an app makes it: by the interpreter, joined as the contract says."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    contract = read_contract(path)
    assert contract is not None
    parts = [entry.part for entry in contract.outputs]
    runs = []
    for scene in scenes:
        value = scene[None] if given["shape"][1] == 3 else scene[None].transpose(0, 2, 3, 1)
        scale, zero = given["quantization"]
        if scale:
            value = np.clip(np.rint(value / scale) + zero, -128, 127)
        interpreter.set_tensor(given["index"], value.astype(given["dtype"]))
        interpreter.invoke()
        found = []
        for detail in interpreter.get_output_details():
            result = interpreter.get_tensor(detail["index"]).astype(np.float64)
            scale, zero = detail["quantization"]
            found.append((result - zero) * scale if scale else result)
        if parts[0] is not None:
            found = [np.concatenate(found, axis=parts[0].axis)]
        runs.append(found[0])
    return np.concatenate(runs)


def decibels(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - got) ** 2)))


def by_scheme(result: ConversionResult) -> dict[str, Path]:
    return {file.scheme: file.artifact.path for file in result.files}


def test_scores_survive_beside_boxes(balanced: ConversionResult, folder: Path) -> None:
    scenes = np.load(folder / "scenes.npz")["image"]
    files = by_scheme(balanced)
    wanted = outputs(files["fp32"], scenes)
    assert wanted[:, 4:].max() > 0.8, "the detector has learned nothing"
    assert wanted[:, :4].max() > 60
    for scheme in ("int8", "int8-float-io"):
        got = outputs(files[scheme], scenes)
        assert got.shape == wanted.shape
        assert decibels(wanted[:, 4:], got[:, 4:]) > 30
        assert decibels(wanted[:, :4], got[:, :4]) > 38
    assert balanced.passed


def test_int8_has_the_parts_as_integer_outputs(balanced: ConversionResult) -> None:
    path = by_scheme(balanced)["int8"]
    interpreter = Interpreter(str(path))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [detail["dtype"] for detail in details] == [np.int8] * 3
    contract = read_contract(path)
    assert contract is not None
    first, second = (entry.part for entry in contract.outputs)
    assert first is not None
    assert second is not None
    assert first.of == second.of
    assert [(p.axis, p.start, p.size) for p in (first, second)] == [(1, 0, 4), (1, 4, 3)]


def test_float_outputs_stay_one(balanced: ConversionResult) -> None:
    interpreter = Interpreter(str(by_scheme(balanced)["int8-float-io"]))
    (detail,) = interpreter.get_output_details()
    assert (detail["dtype"], tuple(detail["shape"])) == (np.float32, (1, 7, 180))


def test_the_report_says_what_was_found_and_done(balanced: ConversionResult) -> None:
    report = json.loads(balanced.report.read_text(encoding="utf-8"))
    (note,) = [note for note in report["notes"] if "mixes ranges" in note]
    assert "0…3" in note
    assert "4…6" in note
    assert "In int8 each part is an output" in note
    found = next(s for s in report["steps"] if "mixed_ranges" in s["options"])["options"][
        "mixed_ranges"
    ]
    output = next(one for one in found["tensors"] if one["output"] == 0)
    assert output["did"] == "cut into 2 parts"
    assert output["parts"][1]["own_db"] > output["parts"][1]["shared_db"] + 20
    int8 = next(file for file in report["files"] if file["scheme"] == "int8")
    parts = int8["parity"]["outputs"][0]["parts"]
    assert [(part["axis"], part["start"], part["size"]) for part in parts] == [(1, 0, 4), (1, 4, 3)]


def test_what_the_quantizer_makes_by_itself_fails(folder: Path) -> None:
    """Over the whole output it has more than 35 dB, and no score is left."""
    result = convert(folder, "joined", effort="none")
    files = {file.scheme: file for file in result.files}
    assert files["fp32"].verdict.passed
    int8 = files["int8"]
    assert int8.parity is not None
    (whole,) = int8.parity.outputs
    assert whole.sqnr_db > 35
    assert whole.parts[0].sqnr_db > 35
    assert whole.parts[1].sqnr_db < 12
    assert int8.metrics["sqnr_db"] == pytest.approx(whole.parts[1].sqnr_db)
    wanted = outputs(by_scheme(result)["fp32"], np.load(folder / "scenes.npz")["image"])
    got = outputs(int8.artifact.path, np.load(folder / "scenes.npz")["image"])
    assert decibels(wanted[:, 4:], got[:, 4:]) == pytest.approx(whole.parts[1].sqnr_db, abs=3)
    assert len(np.unique(got[:, 4:])) <= 5
