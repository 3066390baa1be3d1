"""Files on raw pixels from every framework, and what later commands make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.tflite.metadata import read_contract
from edgekit.tflite.model import read

from .conftest import REPOSITORY, tflite_outputs

pytestmark = pytest.mark.e2e

DATA = str(REPOSITORY / "calibration_data")
PREPROCESS = ["--resize", "8x8", "--scale", "1/255", "--mean", "0.4", "--std", "0.3"]


def edgekit(*arguments: str, folder: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def convert(model: str, folder: Path, out: Path, *options: str) -> dict[str, dict]:
    """The report's files by scheme."""
    command = ["convert", model, "--calibration", DATA, "--output", str(out), "--json", *options]
    report = json.loads(edgekit(*command, "--scheme", "fp32", "--scheme", "int8", folder=folder))
    return {file["scheme"]: file for file in report["files"]}


@pytest.fixture(scope="module")
def torch_file(torch_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raw") / "out"
    source = ["digits_net.py:build", "--weights", "weights.safetensors"]
    files = convert(
        source[0], torch_digits, out, *source[1:], "--input", "image:1x1x8x8:float32:NCHW",
        "--fold-preprocess", *PREPROCESS,
    )  # fmt: skip
    assert files["fp32"]["metrics"]["sqnr_db"] > 100
    assert files["int8"]["metrics"]["sqnr_db"] > 25
    return out


def test_pytorch_by_hand(torch_file: Path, torch_digits: Path) -> None:
    """The pixels into the file, the values into PyTorch, and nothing of edgekit's in between."""
    code = """
import sys, numpy as np, torch
from safetensors.torch import load_file
from digits_net import build
net = build().eval()
net.load_state_dict(load_file("weights.safetensors"))
values = (np.load(sys.argv[1]).astype(np.float32) / 255 - 0.4) / 0.3
np.save(sys.argv[2], net(torch.from_numpy(values[:, None])).detach().numpy())
"""
    pictures = [cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) for p in sorted(Path(DATA).glob("*.jpg"))]
    pixels = np.stack([cv2.resize(picture, (8, 8)) for picture in pictures[:16]])
    np.save(torch_file / "pixels.npy", pixels)
    words = [str(torch_file / "pixels.npy"), str(torch_file / "wanted.npy")]
    subprocess.run([sys.executable, "-c", code, *words], cwd=torch_digits, check=True)
    wanted = np.load(torch_file / "wanted.npy")
    floating, eight = (
        tflite_outputs(torch_file / f"digits_net_{name}.tflite", pixels[..., None].astype(float))
        for name in ("fp32", "int8")
    )
    np.testing.assert_allclose(floating, wanted, atol=1e-4 * np.abs(wanted).max())
    assert 10 * np.log10((wanted**2).sum() / ((wanted - eight) ** 2).sum()) > 25


def test_the_contract_says_both(torch_file: Path) -> None:
    file = torch_file / "digits_net_int8.tflite"
    contract = read_contract(file)
    assert contract is not None
    (entry,) = contract.inputs
    assert entry.preprocess is not None
    assert entry.folded is not None
    assert (entry.tensor.dtype, entry.preprocess.scale, entry.preprocess.mean) == ("int8", 1, (0,))
    assert (entry.folded.scale, entry.folded.mean) == (pytest.approx(1 / 255), (0.4,))
    quantization = read(file).main.inputs[0].quantization
    assert quantization is not None
    assert (quantization.scales, quantization.zero_points) == ((1.0,), (-128,))


def test_validate_beside_a_file_on_values(
    torch_file: Path, torch_digits: Path, tmp_path: Path
) -> None:
    model = ["digits_net.py:build", "--weights", "weights.safetensors"]
    shape = ["--input", "image:1x1x8x8:float32:NCHW"]
    plain = tmp_path / "plain"
    convert(model[0], torch_digits, plain, *model[1:], *shape, *PREPROCESS)
    _takes(plain / "digits_net_fp32.tflite", raw=False)
    _takes(plain / "digits_net_int8.tflite", raw=True)  # as by default
    files = [torch_file / "digits_net_fp32.tflite", torch_file / "digits_net_int8.tflite"]
    files.append((plain / "digits_net_fp32.tflite").rename(plain / "plain_fp32.tflite"))
    for reference in (model, [str(files[0])]):
        words = ["validate", *map(str, files)]
        words += ["--reference", *reference, *(shape if reference is model else [])]
        words += ["--data", DATA, "--json", "--explain", "never", "--output", str(tmp_path / "v")]
        report = json.loads(edgekit(*words, "--force", folder=torch_digits))
        found = {one["name"]: one["parity"]["outputs"][0] for one in report["candidates"]}
        assert found["digits_net_fp32"]["sqnr_db"] > 100
        assert found["digits_net_int8"]["sqnr_db"] > 25
        assert found["plain_fp32"]["sqnr_db"] > 100


def _takes(path: Path, *, raw: bool) -> None:
    contract = read_contract(path)
    assert contract is not None
    assert (contract.inputs[0].folded is not None) == raw


def test_quantize_goes_on_from_a_folded_file(torch_file: Path, tmp_path: Path) -> None:
    words = ["quantize", str(torch_file / "digits_net_fp32.tflite"), "--calibration", DATA]
    edgekit(*words, "--io-dtype", "uint8", "--output", str(tmp_path / "q"), folder=tmp_path)
    (file,) = (tmp_path / "q").glob("*.tflite")
    contract, quantization = read_contract(file), read(file).main.inputs[0].quantization
    assert contract is not None
    assert quantization is not None
    assert contract.inputs[0].folded is not None
    assert (quantization.scales, quantization.zero_points) == ((1.0,), (0,))
    assert "TFLITE_METADATA" in read(file).metadata
    edgekit(
        *words, "--no-standard-metadata", "--output", str(tmp_path / "without"), folder=tmp_path
    )
    (file,) = (tmp_path / "without").glob("*.tflite")
    assert "TFLITE_METADATA" not in read(file).metadata


@pytest.mark.parametrize("model", ["digits.keras", "digits_nhwc.onnx"])
def test_keras_and_onnx(model: str, keras_digits: Path, tmp_path: Path) -> None:
    shape = ["--input", "image:1x8x8x1"] if model.endswith("onnx") else []
    out = tmp_path / "out"
    files = convert(model, keras_digits, out, "--fold-preprocess", *PREPROCESS, *shape)
    assert files["fp32"]["metrics"]["sqnr_db"] > 100
    assert files["int8"]["metrics"]["sqnr_db"] > 20


def test_explain_feeds_both_what_they_want(torch_file: Path, torch_digits: Path) -> None:
    words = ["explain", str(torch_file / "digits_net_int8.tflite"), "--data", DATA, "--json"]
    words += ["--reference", "digits_net.py:build", "--weights", "weights.safetensors"]
    shape = ["--input", "image:1x1x8x8:float32:NCHW"]
    found = json.loads(edgekit(*words, *shape, folder=torch_digits))
    assert min(found["outputs_db"].values()) > 20
    assert not [stage for stage in found["stages"] if stage["departs"]]


def test_arrays_that_are_no_pictures_have_nothing_to_fold(
    torch_digits: Path, digits_nchw: Path, tmp_path: Path
) -> None:
    words = ["convert", "digits_net.py:build", "--input", "image:1x1x8x8:float32:NCHW"]
    words += [
        "--calibration",
        str(digits_nchw),
        "--fold-preprocess",
        "--output",
        str(tmp_path / "o"),
    ]
    edgekit(*words, folder=torch_digits, code=2)
    assert not (tmp_path / "o").exists()
