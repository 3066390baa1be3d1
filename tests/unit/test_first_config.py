"""A first edgekit.toml says what the model tells, and is read back as the same contract."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.cli import group
from edgekit.cli.boundary import run
from edgekit.config import load_config
from edgekit.contract import Decoder
from edgekit.pipeline.first_config import first_config
from edgekit.pipeline.inspection import SourceSummary
from edgekit.presets.timm import from_pretrained_cfg
from edgekit.resolve import resolve
from edgekit.types import TensorSpec

SUMMARY = SourceSummary(
    path='nets/my "net".onnx',
    kind="onnx",
    inputs=(TensorSpec(name="image:0", shape=(None, 3, 96, 96), layout="NCHW"),),
    outputs=(TensorSpec(name="scores", shape=(1, 2)),),
    operators={},
    parameters=1,
    format="",
    routes=(),
    needed=(),
    notes=(),
    preset=from_pretrained_cfg({"input_size": (3, 96, 96), "num_classes": 2}, ["cat", 'd"\u202eg']),
)


def test_what_is_written_is_read_back_as_the_same_contract(tmp_path):
    path = tmp_path / "edgekit.toml"
    path.write_text(first_config(SUMMARY, data=tmp_path / "photos"), encoding="utf-8")
    config = load_config(path)
    assert config.source == SUMMARY.path
    assert config.calibration == tmp_path / "photos"
    again = resolve(SUMMARY.inputs, SUMMARY.outputs, config=config)
    first = resolve(SUMMARY.inputs, SUMMARY.outputs, config=config, preset=SUMMARY.preset)
    assert again.to_json() == first.to_json()
    (entry,) = again.inputs
    assert entry.preprocess is not None
    assert (entry.preprocess.resize, entry.preprocess.interpolation) == (109, "bicubic")
    assert again.outputs[0].labels == ("cat", 'd"\u202eg')
    assert "\u202e" not in path.read_text(encoding="utf-8")
    assert "# timm's pretrained_cfg: 96 / crop_pct 0.875" in path.read_text(encoding="utf-8")


def test_what_nobody_says_is_left_open_or_called_assumed():
    plain = replace(SUMMARY, preset=None)
    text = first_config(plain)
    assert "assumed: check it" in text
    assert '# task = "classification"' in text
    assert '# data = "photos"' in text
    assert "decoder" not in text
    seen = replace(SUMMARY.preset, decoder=Decoder(format="yolov8"), task="detection")
    assert 'decoder = { format = "yolov8" }' in first_config(replace(SUMMARY, preset=seen))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x.tflite"], "is a .tflite file already"),
        (["net.onnx", "-o", "notes.txt"], "is not a .toml file"),
        (["net.onnx", "nowhere/"], "There is no file or folder nowhere"),
        (["net.onnx"], "edgekit.toml exists"),
    ],
)
def test_what_is_wrong_is_told_before_a_framework_starts(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if "exists" in words:
        (tmp_path / "edgekit.toml").write_text("")
    code = run(group, ["init", *arguments])
    assert code in (2, 6)
    assert words in " ".join(capsys.readouterr().err.split())
