"""A real client opens the files and says what the framework says: MediaPipe Tasks on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgekit.contract import Decoder
from edgekit.validation.metrics.decode import decode

from . import vision_nets as nets
from .conftest import REPOSITORY, run_python
from .runtime_envs import environment

pytestmark = pytest.mark.e2e

LABELS = ("cat", "dög", "bird")
PICTURES = 8
CONTRACT = """
[inputs.image]
shape = [1, 3, 64, 64]
layout = "NCHW"
[inputs.image.preprocess]
resize = [64, 64]
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""
SEGMENTER = '[outputs.output]\ntask = "segmentation"\nlabels = "labels.txt"\n'
DETECTOR = """[outputs.output_0]
task = "detection"
labels = "labels.txt"
[outputs.output_0.decoder]
format = "{format}"
normalized = true
score_threshold = 0.3
iou_threshold = 0.3
"""
ANCHORED = DETECTOR.format(format="ssd") + 'scores = "output_1"\nanchors = "{anchors}"\n'
SELECTING = DETECTOR.format(format="boxes") + (
    'classes = "output_1"\nscores = "output_2"\ncount = "output_3"\n'
)


def photos(size: int) -> np.ndarray:
    """RGB pictures that were no calibration samples' neighbours, of the model's own size."""
    every = sorted((REPOSITORY / "calibration_data").rglob("*.jpg"))
    paths = [path for path in every if path.name.startswith(("hubble", "retina", "rocket"))][
        -PICTURES:
    ]
    return np.stack([cv2.resize(cv2.imread(str(p)), (size, size))[..., ::-1] for p in paths])


def ask(task: str, pictures: np.ndarray, folder: Path, *files: Path) -> list[dict[str, Any]]:
    """What MediaPipe says, file by file."""
    python = environment("mediapipe==1.2.2") / "python"
    np.save(folder / "pictures.npy", pictures)
    client = Path(__file__).with_name("mediapipe_client.py")
    done = subprocess.run(
        [str(python), str(client), task, str(folder / "pictures.npy"), *map(str, files)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def convert(model: str, folder: Path, *options: str) -> Path:
    """The folder with the files on raw pixels; a failed gate is not what is tested here."""
    command = [sys.executable, "-m", "edgekit", "convert", model, "--fold-preprocess"]
    command += ["--calibration", str(REPOSITORY / "calibration_data")]
    command += ["--scheme", "fp32", "--scheme", "int8-uint8-io", "--scheme", "int8-float-io"]
    command += ["--output", str(folder / "out"), "--quiet", *options]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode in (0, 4, 8), done.stderr
    return folder / "out"


def convert_small(name: str, contract: str, folder: Path) -> Path:
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    np.save(folder / "anchors.npy", nets.anchors())
    text = CONTRACT + contract.replace("{anchors}", str(folder / "anchors.npy"))
    (folder / "contract.toml").write_text(text, encoding="utf-8")
    source = Path(__file__).with_name("vision_nets.py")
    return convert(f"{source}:{name}", folder, "--config", str(folder / "contract.toml"))


@pytest.fixture(scope="module")
def efficientnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("efficientnet")
    labels = "".join(f"class {place}\n" for place in range(1000))
    (folder / "labels.txt").write_text(labels, encoding="utf-8")
    convert(
        f"{REPOSITORY}/examples/efficientnet_lite0.py:build", folder,
        "--config", f"{REPOSITORY}/examples/efficientnet_lite0.toml",
        "--labels", str(folder / "labels.txt"), "--effort", "fast", "--scheme", "int8",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def classes(efficientnet: Path) -> np.ndarray:
    """PyTorch's own scores, without any code of edgekit's."""
    code = f"""
import sys, numpy as np, torch
sys.path[:0] = [{str(REPOSITORY / "examples")!r}, {str(REPOSITORY)!r}]
from efficientnet_lite0 import build
from tests.e2e.vision_nets import reference
np.save("scores.npy", reference(build().eval(), np.load("pictures.npy"))[0])
"""
    np.save(efficientnet / "pictures.npy", photos(224))
    run_python(code, efficientnet)
    scores: np.ndarray = np.load(efficientnet / "scores.npy")
    return scores


def test_classifier(efficientnet: Path, classes: np.ndarray) -> None:
    names = ["fp32", "int8_uint8_io", "int8_float_io", "int8"]
    files = [efficientnet / "out" / f"efficientnet_lite0_{name}.tflite" for name in names]
    floating, *eight, signed = ask("classifier", photos(224), efficientnet, *files)
    assert "INT8" in signed["refused"]
    for row, found in zip(classes, floating["found"], strict=True):
        best = np.argsort(-row, kind="stable")[:5]
        assert [index for index, _, _ in found] == best.tolist()
        assert [name for _, name, _ in found] == [f"class {place}" for place in best]
        np.testing.assert_allclose([score for *_, score in found], row[best], atol=1e-3)
    for answer in eight:
        same = [f[0][0] == row.argmax() for f, row in zip(answer["found"], classes, strict=True)]
        assert sum(same) >= PICTURES - 1
        for row, found in zip(classes, answer["found"], strict=True):
            for index, _, score in found:
                assert score == pytest.approx(row[index], abs=1.5)


def test_segmenter(tmp_path: Path) -> None:
    out = convert_small("segmenter", SEGMENTER, tmp_path)
    (wanted,) = nets.reference(nets.segmenter(), photos(nets.SIZE))
    files = [
        out / f"segmenter_{name}.tflite" for name in ("fp32", "int8_uint8_io", "int8_float_io")
    ]
    floating, *eight = ask("segmenter", photos(nets.SIZE), tmp_path, *files)
    for answer, share in ((floating, 0.9999), *((one, 0.97) for one in eight)):
        labels, masks = zip(*answer["found"], strict=True)
        assert all(tuple(names) == LABELS for names in labels)
        assert (np.array(masks) == wanted.argmax(axis=1)).mean() >= share


@pytest.mark.parametrize(
    ("name", "contract"),
    [("detector", ANCHORED), ("selecting", SELECTING)],
)
def test_detector(name: str, contract: str, tmp_path: Path) -> None:
    out = convert_small(name, contract, tmp_path)
    pictures = photos(nets.SIZE)
    outputs = nets.reference(getattr(nets, name)(), pictures)
    kinds = ("fp32", "int8_uint8_io", "int8_float_io")
    files = [out / f"{name}_{kind}.tflite" for kind in kinds]
    for kind, answer in zip(kinds, ask("detector", pictures, tmp_path, *files), strict=True):
        matched = []
        for place, found in enumerate(answer["found"]):
            wanted = boxes([column[place] for column in outputs])
            assert wanted
            assert kind != "fp32" or len(found) == len(wanted)
            matched += [is_among(found, *one, exact=kind == "fp32") for one in wanted]
        # In 8 bits a class may win that was nearly as likely, or a score fall below the threshold.
        assert np.mean(matched) >= (1.0 if kind == "fp32" else 0.9)


def boxes(outputs: list[np.ndarray]) -> list[tuple[np.ndarray, str, float]]:
    """The framework's boxes in pixels, their labels and scores, as edgekit reads them."""
    if len(outputs) == 2:  # MediaPipe takes the best class of each anchor and no other
        scores = outputs[1]
        outputs = [outputs[0], np.where(scores == scores.max(axis=1, keepdims=True), scores, 0)]
    named = {f"output_{place}": output for place, output in enumerate(outputs)}
    decoder = Decoder(
        format="ssd" if len(outputs) == 2 else "boxes", normalized=True, count="output_3",
        classes="output_1", scores="output_1" if len(outputs) == 2 else "output_2",
        score_threshold=0.3, iou_threshold=0.3,
    )  # fmt: skip
    found = decode(named, "output_0", decoder, (nets.SIZE, nets.SIZE), anchors=nets.anchors())
    labels = [LABELS[place] for place in found.classes]
    return list(zip(found.boxes, labels, found.scores, strict=True))


def is_among(
    found: list[list[Any]], box: np.ndarray, label: str, score: float, *, exact: bool
) -> bool:
    """Whether MediaPipe says so too; it cuts places and sizes to whole pixels."""
    return any(
        one[4] == label
        and abs(one[5] - score) < (0.001 if exact else 0.1)
        and np.abs(one[:4] - placed(box)).max() <= (1.01 if exact else 2.5)
        for one in found
    )


def placed(box: np.ndarray) -> np.ndarray:
    """Left, top, width, height."""
    return np.array([box[0], box[1], box[2] - box[0], box[3] - box[1]])


def test_the_schema_by_its_own_code(efficientnet: Path) -> None:
    file = efficientnet / "out" / "efficientnet_lite0_int8_uint8_io.tflite"
    (found,) = ask("schema", photos(224), efficientnet, file)
    graph = found["metadata"]["subgraphMetadata"][0]
    (image,), (scores,) = graph["inputTensorMetadata"], graph["outputTensorMetadata"]
    assert image["name"] == "image"
    properties = image["content"]["contentProperties"]
    assert properties["colorSpace"] == 1
    assert properties["defaultSize"] == {"width": 224, "height": 224}
    assert image["processUnits"][0]["options"] == {"mean": [0.0], "std": [1.0]}
    assert (image["stats"]["min"], image["stats"]["max"]) == ([0.0], [255.0])
    assert scores["associatedFiles"][0]["type"] == 2  # TENSOR_AXIS_LABELS
    lines = found["files"][scores["associatedFiles"][0]["name"]].splitlines()
    assert lines == [f"class {place}" for place in range(1000)]
