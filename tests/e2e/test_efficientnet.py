"""The demo: EfficientNet-Lite0 with its ImageNet weights, through every scheme."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import REPOSITORY, run_python, tflite_outputs

pytestmark = pytest.mark.e2e

SCHEMES = ["fp32", "fp16", "dynamic-int8", "int8", "int8-float-io", "int16x8", "weight-only-int8"]

# The reference once more, by hand: no code of edgekit's, another library for the resize.
REFERENCE = """
import sys
import cv2, numpy as np, torch
sys.path.insert(0, sys.argv[1])
from efficientnet_lite0 import build
net = build().eval()
inputs, outputs = [], []
for path in sys.argv[3:]:
    picture = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)[16:240, 16:240]  # 256 → 224
    value = (picture / np.float32(255) - np.float32([0.485, 0.456, 0.406])) / np.float32(
        [0.229, 0.224, 0.225])
    inputs.append(value.astype(np.float32))
    with torch.inference_mode():
        outputs.append(net(torch.from_numpy(inputs[-1].transpose(2, 0, 1)[None])).numpy())
np.savez(sys.argv[2], inputs=np.stack(inputs), outputs=np.concatenate(outputs))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("efficientnet")
    (folder / "contract.toml").write_text(
        (REPOSITORY / "examples/efficientnet_lite0.toml")
        .read_text(encoding="utf-8")
        .replace("resize = 224", "resize = 256")
        .replace("../calibration_data", str(REPOSITORY / "calibration_data")),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "edgekit", "convert"]
    command += [f"{REPOSITORY}/examples/efficientnet_lite0.py:build", "--json"]
    command += ["--config", str(folder / "contract.toml"), "--output", str(folder / "out")]
    for scheme in SCHEMES:
        command += ["--scheme", scheme]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout)


def test_every_scheme_passes(converted: tuple[Path, dict]) -> None:
    _, report = converted
    assert report["passed"]
    assert [file["scheme"] for file in report["files"]] == SCHEMES
    by_scheme = {file["scheme"]: file for file in report["files"]}
    assert by_scheme["fp32"]["metrics"]["sqnr_db"] > 100
    assert by_scheme["fp32"]["metrics"]["top1_agreement"] == 1.0
    assert by_scheme["int8"]["integer_share"] == 1.0
    assert by_scheme["int8"]["metrics"]["size_mb"] < 0.3 * by_scheme["fp32"]["metrics"]["size_mb"]


def test_the_float_file_equals_torch_by_an_independent_comparison(
    converted: tuple[Path, dict],
) -> None:
    folder, _ = converted
    pictures = sorted((REPOSITORY / "calibration_data").glob("*.jpg"))[:8]
    run_python(
        REFERENCE,
        folder,
        str(REPOSITORY / "examples"),
        str(folder / "reference.npz"),
        *map(str, pictures),
    )
    reference = np.load(folder / "reference.npz")
    got = tflite_outputs(folder / "out/efficientnet_lite0_fp32.tflite", reference["inputs"])
    np.testing.assert_allclose(got, reference["outputs"], atol=2e-4)
    # The int8 file takes the pixels that these values were made of.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = np.rint((reference["inputs"] * std + mean) * 255).astype(np.float32)
    quantized = tflite_outputs(folder / "out/efficientnet_lite0_int8.tflite", pixels)
    noise = np.sum((quantized - reference["outputs"]) ** 2)
    assert 10 * np.log10(np.sum(reference["outputs"] ** 2) / noise) > 12


@pytest.mark.parametrize(
    ("scheme", "given", "wanted"),
    [
        ("int8", "int8", "int8"),
        ("int8-float-io", "float32", "float32"),
        ("int16x8", "int16", "int16"),
    ],
)
def test_input_and_output_types(
    scheme: str, given: str, wanted: str, converted: tuple[Path, dict]
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    folder, _ = converted
    name = f"efficientnet_lite0_{scheme.replace('-', '_')}.tflite"
    interpreter = Interpreter(str(folder / "out" / name))
    assert interpreter.get_input_details()[0]["dtype"].__name__ == given
    assert interpreter.get_output_details()[0]["dtype"].__name__ == wanted


def test_ranges_stand_on_the_calibration_part_and_parity_on_the_other(
    converted: tuple[Path, dict],
) -> None:
    _, report = converted
    assert report["data"]["calibration_samples"] == 36
    assert report["data"]["parity_samples"] == 64
    assert report["data"]["calibration_digest"] != report["data"]["parity_digest"]


def test_preparation_beats_the_quantizer_alone_in_the_same_integer_graph(
    converted: tuple[Path, dict],
) -> None:
    import edgekit

    folder, report = converted
    stock = edgekit.convert(
        folder / "out/efficientnet_lite0_fp32.tflite",
        calibration=REPOSITORY / "calibration_data",
        schemes=["int8"],
        effort="none",
        output=folder / "stock",
    ).files[0]
    prepared = next(file for file in report["files"] if file["scheme"] == "int8")
    # Compared with different references (the float file, PyTorch), which are 100 dB apart.
    assert prepared["metrics"]["sqnr_db"] > stock.metrics["sqnr_db"] + 3
    passes = prepared["artifact"]["lineage"][-1]["options"]["passes"]
    assert "error-compensated rounding" in {entry["name"] for entry in passes if entry["kept"]}
    # The same operators and the same size to within the contract's bytes: the same latency.
    assert abs(prepared["artifact"]["size_bytes"] - stock.artifact.size_bytes) < 4096
