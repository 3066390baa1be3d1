"""The bundled photographs are what their manifest says."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgekit.calibration import load
from edgekit.contract import Contract, InputContract, Preprocess
from edgekit.types import SilentProgress, TensorSpec

FOLDER = Path(__file__).parents[2] / "calibration_data"
IMAGES = tomllib.loads((FOLDER / "manifest.toml").read_text(encoding="utf-8"))["images"]
FREE = {"CC0-1.0", "LicenseRef-Public-Domain", "CC-BY-2.0"}


def test_every_file_is_listed_and_every_listed_file_is_there():
    assert {entry["file"] for entry in IMAGES} == {path.name for path in FOLDER.glob("*.jpg")}
    assert len(IMAGES) == 131


@pytest.mark.parametrize("entry", IMAGES, ids=lambda entry: entry["file"])
def test_bytes_licence_and_size(entry):
    data = (FOLDER / entry["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert entry["licence"] in FREE
    assert entry["source"]
    if entry["licence"].startswith("CC-BY"):
        assert entry["author"]
        assert entry["origin"]
        assert entry["changes"]
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (256, 256, 3)
    assert pixels.std() > 10


def test_the_splits_share_no_source():
    sources = {
        split: {entry["source"] for entry in IMAGES if entry["split"] == split}
        for split in ("calibration", "parity")
    }
    assert len(sources["calibration"]) >= 8
    assert len(sources["parity"]) >= 80
    assert not sources["calibration"] & sources["parity"]
    assert [entry["split"] for entry in IMAGES].count("parity") == 95


def test_the_folder_is_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 4_000_000


def test_it_loads_as_calibration_data_without_complaints(tmp_path):
    spec = TensorSpec(name="image", shape=(1, 3, 224, 224), layout="NCHW")
    chain = Preprocess(resize=256, crop=(224, 224), scale=1 / 255)
    dataset = load(
        FOLDER,
        Contract(inputs=(InputContract(tensor=spec, preprocess=chain),)),
        folder=tmp_path,
        parity_samples=95,
        progress=SilentProgress(),
    )
    assert (dataset.calibration.count, dataset.parity.count) == (36, 95)
    assert not dataset.skipped
    assert all("gray" in note for note in dataset.notes)
