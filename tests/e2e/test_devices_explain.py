"""``edgekit explain --device``: is it the file or the device?"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tflite_builder import quantized_bytes, random_image, tiny_bytes

from tests.devices import aarch64

pytestmark = pytest.mark.e2e
HERE = f"exec:{shlex.quote(sys.executable)}"
PHOTOS = Path(__file__).parents[2] / "calibration_data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path, Path]:
    """A float file, an int8 file, and inputs."""
    floating, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    floating.write_bytes(tiny_bytes())
    int8.write_bytes(quantized_bytes("static_wi8_ai8"))
    np.save(tmp_path / "images.npy", np.concatenate([random_image(seed) for seed in range(6)]))
    return floating, int8, tmp_path / "images.npy"


def edgekit(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def explained(*arguments: object) -> dict:
    finished = edgekit("explain", *arguments, "--json")
    assert finished.returncode == 0, finished.stderr or finished.stdout
    return json.loads(finished.stdout)


WRONG = """
import tempfile
from pathlib import Path
import numpy as np
import ai_edge_litert.interpreter as module
from edgekit.tflite.model import read, write

class Interpreter(module.Interpreter):
    def __init__(self, *, model_path, experimental_op_resolver_type, **named):
        if experimental_op_resolver_type != module.OpResolverType.BUILTIN_REF:
            model = read(Path(model_path))
            for operator in model.main.operators:
                if operator.name == "CONV_2D":
                    _, weights, bias = operator.inputs
                    out = operator.outputs[0].quantization.scales[0]
                    steps = out / np.array(bias.quantization.scales)
                    bias.set_data(bias.data() + np.rint(40 * steps).astype(np.int32))
            model_path = tempfile.mkdtemp() + "/wrong.tflite"
            write(model, Path(model_path))
        kind = {"experimental_op_resolver_type": experimental_op_resolver_type}
        super().__init__(model_path=model_path, **kind, **named)

module.Interpreter = Interpreter
"""
"""A runtime whose fast convolutions answer 40 steps too much."""


def wrong(tmp_path: Path) -> str:
    site = tmp_path / "wrong"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WRONG)
    return f"exec:env PYTHONPATH={site} {shlex.quote(sys.executable)}"


def test_a_right_device(files):
    _, int8, images = files
    found = explained(int8, "--data", images, "--device", HERE)
    assert found["first"] is None
    assert "none of" in found["verdict"]
    assert {op["added_db"] for op in found["ops"]} == {200.0}


def test_a_right_device_leaves_the_file_to_be_explained(files):
    floating, int8, images = files
    asked = (int8, "--data", images, "--reference", floating)
    here = explained(*asked, "-o", "here.html")
    there = explained(*asked, "--device", HERE)
    assert there["notes"][0].endswith("If something is wrong, it is wrong here too.")
    assert there["ops"] == here["ops"]


def test_one_wrong_kind_of_kernel(files, tmp_path):
    _, int8, images = files
    found = explained(int8, "--data", images, "--device", wrong(tmp_path))
    bad = {op["operator"] for op in found["ops"] if op["cause"] != "none"}
    assert bad == {"CONV_2D"}
    assert "is at fault, not the model" in found["verdict"]
    first = next(op for op in found["ops"] if op["name"] == found["first"])
    assert first["cause"] == "kernel"
    assert first["figures"]["kernel_steps"] == pytest.approx(40, abs=1.5)
    assert "fast kernels there are what is wrong" in " ".join(found["notes"])
    assert (tmp_path / "int8_explain.html").read_text().count("kernel")


def test_a_validation_that_fails_there_says_so(files, tmp_path):
    floating, int8, images = files
    finished = edgekit(
        *("validate", int8, "--reference", floating, "--data", images, "--gate", "sqnr_db >= 20"),
        *("--device", wrong(tmp_path), "--no-latency"),
    )
    assert finished.returncode == 4, finished.stderr
    assert "is at fault, not the model" in finished.stdout


def test_without_reference_or_device(files):
    _, int8, images = files
    finished = edgekit("explain", int8, "--data", images)
    assert finished.returncode == 2
    assert "no --reference" in finished.stderr


def emulated(cpu: str) -> str:
    try:
        return aarch64.address("ai-edge-litert==2.1.6", cpu)
    except aarch64.Unavailable as error:
        pytest.skip(str(error))


def test_right_on_one_core_wrong_on_another_and_why(efficientnet):
    """FACTS.md, Devices: the file passes on a Cortex-A72 and fails where there is i8mm."""
    codes, reports = {}, {}
    for cpu in ("cortex-a72", "max"):
        finished = edgekit(
            *("validate", efficientnet / "efficientnet_lite0_int8.tflite", "--limit", 4),
            *("--reference", efficientnet / "efficientnet_lite0_fp32.tflite", "--data", PHOTOS),
            *("--gate", "sqnr_db >= 15", "--gate", "top1_agreement >= 0", "--no-latency"),
            *("--device", emulated(cpu), "--json"),
            *("--explain", "never", "--worst", 0, "--accept-few"),
        )
        codes[cpu], reports[cpu] = finished.returncode, json.loads(finished.stdout)
    assert codes == {"cortex-a72": 0, "max": 4}
    assert reports["max"]["environment"]["ai-edge-litert"] == "2.1.6"
    assert reports["max"]["environment"]["machine"] == "aarch64"

    found = explained(
        *(efficientnet / "efficientnet_lite0_int8.tflite", "--data", PHOTOS, "--samples", 2),
        *("--device", emulated("max")),
    )
    bad = [op["operator"] for op in found["ops"] if op["cause"] == "kernel"]
    assert len(bad) > 20
    assert set(bad) == {"CONV_2D", "FULLY_CONNECTED"}  # depthwise convolutions are right
    notes = " ".join(found["notes"])
    assert "operators in integers" in notes
    assert "fast kernels there are what is wrong" in notes
