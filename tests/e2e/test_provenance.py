"""From a conversion to its lock and back: verified, made again, tampered with, compared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.provenance.text import read_lock
from edgekit.tflite.model import read, write

from .browser import chromium, find
from .conftest import REPOSITORY, Digits

pytestmark = pytest.mark.e2e


def edgekit(folder: Path, *words: str | Path, code: int = 0) -> Any:
    """Run a command where the user stands; its JSON, or its text where it has none."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    done = subprocess.run(
        [sys.executable, "-m", "edgekit", *map(str, words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return json.loads(done.stdout) if "--json" in words else done.stdout + done.stderr


CONVERT = ["convert", "digits_net.py:build", "--weights", "weights.pt", "--input", "image:1x1x8x8"]
CONVERT += ["--accept-few", "--calibration", "pictures", "--scale", "1/255", "--color", "GRAY"]
CONVERT += ["--task", "classification", "--scheme", "fp32", "--scheme", "int8"]


@pytest.fixture(scope="module")
def project(torch_digits: Path, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: code in two files, weights, pictures by class; converted once."""
    import cv2

    folder = tmp_path_factory.mktemp("project")
    code = (torch_digits / "digits_net.py").read_text(encoding="utf-8")
    (folder / "layers.py").write_text(code, encoding="utf-8")
    (folder / "digits_net.py").write_text("from layers import build\n", encoding="utf-8")
    shutil.copy(torch_digits / "weights.pt", folder)
    for number in range(1400, 1500):
        path = folder / "pictures" / str(digits.labels[number]) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), (digits.images[number] * 255).astype(np.uint8))
    edgekit(folder, *CONVERT, "-o", "out", "--quiet")
    return folder


@pytest.fixture
def copy(project: Path, tmp_path: Path) -> Path:
    """The same folder elsewhere, to change something in."""
    return Path(shutil.copytree(project, tmp_path / "copy"))


def tamper(path: Path) -> str:
    """Change one weight; the name of its layer."""
    model = read(path)
    layer = next(op for op in model.main.operators if op.name == "FULLY_CONNECTED")
    weights = layer.inputs[1]
    assert weights is not None
    values = weights.data().copy()
    values.flat[3] ^= 64
    weights.set_data(values)
    write(model, path)
    return layer.outputs[0].name


def test_the_lock_is_the_same_for_the_same_run(project: Path, copy: Path) -> None:
    edgekit(copy, *CONVERT, "-o", "out", "--quiet", "--force")
    first, second = (folder / "out" / "edgekit.lock" for folder in (project, copy))
    assert first.read_text(encoding="utf-8") == second.read_text(encoding="utf-8")


def test_the_lock_says_what_the_files_were_made_from(project: Path) -> None:
    import hashlib

    lock = read_lock(project / "out" / "edgekit.lock")
    inputs = {one.role: one for one in lock.inputs}
    assert set(inputs) == {"model", "weights", "code/layers.py"}
    for one in lock.inputs:
        content = (project / one.path).read_bytes()
        assert one.sha256 == hashlib.sha256(content).hexdigest()
    roles = {one.role: one for one in lock.data}
    assert set(roles) == {"calibration", "parity"}
    used = [sample.id for one in lock.data for sample in one.samples]
    assert len(used) == len(set(used)) == 100
    assert lock.tools["torch"]["torch"]
    assert lock.tools["model"]["torch"]
    assert len(lock.environments["onnx2tf"]) == 64
    assert lock.settled == {"route": "onnx2tf"}
    assert [one.scheme for one in lock.files] == ["fp32", "int8"]
    for one in lock.files:
        content = (project / "out" / one.name).read_bytes()
        assert (one.sha256, one.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_verify_then_tamper(copy: Path) -> None:
    files = sorted((copy / "out").glob("*.tflite"))
    assert edgekit(copy, "verify", *files, "--json")["same"]
    original = copy / "original.tflite"
    shutil.copy(copy / "out" / "digits_net_int8.tflite", original)
    layer = tamper(copy / "out" / "digits_net_int8.tflite")
    found = edgekit(copy, "verify", *files, "--json", code=4)
    states = {Path(one["path"]).name: one["state"] for one in found["files"]}
    assert states == {"digits_net_fp32.tflite": "same", "digits_net_int8.tflite": "differs"}
    changes = edgekit(copy, "diff", original, "out/digits_net_int8.tflite", "--json")
    assert [one["layer"] for one in changes["weights"]] == [layer]
    assert not changes["operators"]
    edgekit(copy, "diff", original, "out/digits_net_int8.tflite", "--exit-code", "-q", code=4)
    edgekit(copy, "diff", original, original, "--exit-code", "-q")


def test_verify_with_a_lock_from_elsewhere_and_without_one(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "out" / "edgekit.lock", tmp_path / "trusted.lock")
    file = "out/digits_net_int8.tflite"
    assert "There is no edgekit.lock beside" in edgekit(copy, "verify", file, code=2)
    assert edgekit(copy, "verify", file, "--lock", tmp_path / "trusted.lock", "--json")["same"]
    (tmp_path / "trusted.lock").write_text("x", encoding="utf-8")
    text = edgekit(copy, "verify", file, "--lock", tmp_path / "trusted.lock", code=2)
    assert "Cure" in text


def test_a_replay_makes_the_same_bytes(copy: Path) -> None:
    found = edgekit(copy, "replay", "out/edgekit.lock", "-o", "again", "--json")
    assert found["same"]
    assert [one["outcome"] for one in found["files"]] == ["same", "same"]
    assert found["changed"] == []
    for name in ("digits_net_fp32.tflite", "digits_net_int8.tflite"):
        assert (copy / "again" / name).read_bytes() == (copy / "out" / name).read_bytes()
    # What was made again can itself be verified by the first lock, and made again.
    edgekit(copy, "verify", "again/digits_net_int8.tflite", "--lock", "out/edgekit.lock")
    assert edgekit(copy, "replay", "again/edgekit.lock", "--dry-run", "--json")["same"]


@pytest.mark.parametrize(
    ("changed", "role"),
    [
        ("layers.py", "code/layers.py"),
        ("digits_net.py", "model"),
        ("weights.pt", "weights"),
    ],
)
def test_a_replay_names_the_file_that_changed(copy: Path, changed: str, role: str) -> None:
    with (copy / changed).open("ab") as stream:
        stream.write(b"\n")
    found = edgekit(copy, "replay", "out/edgekit.lock", "-o", "again", "--json", code=4)
    assert [(one["role"], one["why"]) for one in found["inputs"]] == [(role, "has another content")]
    assert found["files"] == []
    assert not (copy / "again").exists()


def test_a_replay_names_the_picture_that_changed(copy: Path) -> None:
    lock = read_lock(copy / "out" / "edgekit.lock")
    sample = lock.data[0].samples[5].id
    with (copy / "pictures" / sample).open("ab") as stream:
        stream.write(b"\0")
    text = edgekit(copy, "replay", "out/edgekit.lock", code=4)
    assert sample in text.replace("\n", "").replace(" ", "")
    assert "Nothing was made" in text


def test_inputs_that_were_moved_are_given(copy: Path, tmp_path: Path) -> None:
    (copy / "pictures").rename(tmp_path / "elsewhere")
    (copy / "weights.pt").rename(tmp_path / "w.pt")
    text = edgekit(copy, "replay", "out/edgekit.lock", "--dry-run", code=4)
    assert "--moved" in text
    moved = ["--moved", f"calibration={tmp_path}/elsewhere", "--moved", f"weights={tmp_path}/w.pt"]
    assert edgekit(copy, "replay", "out/edgekit.lock", *moved, "--json")["same"]
    edgekit(copy, "replay", "out/edgekit.lock", "--moved", "photos=x", code=2)
    edgekit(copy, "replay", "out/edgekit.lock", "--moved", "photos", code=2)
    text = edgekit(copy, "replay", "out/edgekit.lock", "-o", "out", "--force", code=2)
    assert "folder of the lock" in text


def test_a_replay_after_the_budget_was_climbed(copy: Path) -> None:
    """The last rungs keep layers by their measured time: a replay takes them as they are."""
    edgekit(
        copy,
        *CONVERT[:-4],
        "--scheme",
        "int8",
        "--min-sqnr",
        "60",
        "-o",
        "out",
        "--force",
        "-q",
        code=4,
    )
    lock = read_lock(copy / "out" / "edgekit.lock")
    assert lock.settled["rung"]["kept"]
    assert edgekit(copy, "replay", "out/edgekit.lock", "--json")["same"]


def test_a_replay_of_the_faster_of_two_routes(
    keras_digits: Path, digits_nhwc: Path, tmp_path: Path
) -> None:
    words = ["convert", keras_digits / "digits.keras", "--calibration", digits_nhwc, "--scheme"]
    edgekit(tmp_path, *words, "fp32", "--scale", "1/255", "--color", "GRAY", "-o", "out", "-q")
    lock = read_lock(tmp_path / "out" / "edgekit.lock")
    assert lock.settled["route"] in ("keras", "onnx2tf")
    assert {one.path for one in lock.data} == {str(digits_nhwc)}
    assert edgekit(tmp_path, "replay", "out/edgekit.lock", "--json")["same"]


def test_a_lock_may_not_ask_for_more_than_the_user_grants(copy: Path, torch_digits: Path) -> None:
    shutil.copy(torch_digits / "whole.pt", copy)
    shutil.copy(copy / "layers.py", copy / "digits_net.py")
    words = ["convert", "whole.pt", "--trust-pickle", *CONVERT[4:-2], "-o", "pickled", "-q"]
    edgekit(copy, *words)
    text = edgekit(copy, "replay", "pickled/edgekit.lock", code=2)
    assert "--trust-pickle" in text
    assert edgekit(copy, "replay", "pickled/edgekit.lock", "--trust-pickle", "--json")["same"]


def test_a_diff_with_data_says_what_the_change_means(project: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before.tflite", tmp_path / "after.tflite"
    shutil.copy(project / "out" / "digits_net_int8.tflite", before)
    shutil.copy(before, after)
    words = ["diff", before, after, "--data", project / "pictures", "--limit", "20", "--json"]
    same = edgekit(tmp_path, *words)["behaviour"]
    assert same["samples"] == 20
    (output,) = same["outputs"]
    assert output["max_abs"] == 0
    assert output["top1_agreement"] == 1
    assert same["latency_before_ms"] > 0
    assert same["latency_after_ms"] > 0
    tamper(after)
    (output,) = edgekit(tmp_path, *words)["behaviour"]["outputs"]
    assert output["max_abs"] > 0
    assert output["sqnr_db"] < 100


@pytest.mark.skipif(find() is None, reason="no Chromium here (Debian: apt install chromium)")
def test_the_page_in_a_browser(project: Path, tmp_path: Path) -> None:
    files = [project / "out" / f"digits_net_{scheme}.tflite" for scheme in ("fp32", "int8")]
    page_file = tmp_path / "changes.html"
    words = ["diff", *files, "--data", project / "pictures", "--limit", "20", "--html", page_file]
    text = edgekit(tmp_path, *words)
    lines = text.replace(str(page_file), "changes.html").splitlines()
    # What to type next stays in one piece, to be copied.
    assert [line for line in lines if len(line) > 80 and not line.startswith("Next")] == []
    assert "exists already" in edgekit(tmp_path, *words, code=2)
    with chromium(tmp_path / "profile") as page:
        for width, dark in ((1100, False), (375, True)):
            page.open(page_file, width=width, dark=dark)
            assert page.messages == []
            assert page.js("document.documentElement.scrollWidth") <= width
            assert [u for u in page.requests if not u.startswith("data:")] == [page_file.as_uri()]
        assert "Weights" in page.js("document.body.innerText")
