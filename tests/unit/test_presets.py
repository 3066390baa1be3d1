"""Other people's notes about a model, as contracts; the pipelines that they mean, in Pillow."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tflite_builder as tiny
from PIL import Image

from edgekit.api.passed import preprocessing
from edgekit.config import Config
from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.errors import ModelError, UsageError
from edgekit.pipeline.known import preset_words, told_preset
from edgekit.preprocess import preprocess_image
from edgekit.presets import Preset
from edgekit.presets.huggingface import from_configs, from_folder
from edgekit.presets.keras_layers import from_application, from_layers
from edgekit.presets.objects import cached, preset_of_model, preset_of_notes
from edgekit.presets.onnx_metadata import from_properties
from edgekit.presets.timm import from_pretrained_cfg
from edgekit.presets.ultralytics import from_metadata
from edgekit.resolve import resolve
from edgekit.standard_metadata.embed import embed_standard_metadata
from edgekit.standard_metadata.reading import read_preset
from edgekit.types import TensorSpec

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CFG = {
    "input_size": (3, 96, 96), "interpolation": "bicubic", "crop_pct": 0.875, "mean": MEAN,
    "std": STD, "num_classes": 10,
}  # fmt: skip
VIT = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "resample": 2,
    "size": {"height": 96, "width": 96}, "do_rescale": True, "rescale_factor": 1 / 255,
    "do_normalize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip
CLIP = VIT | {
    "image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 100}, "resample": 3,
    "do_center_crop": True, "crop_size": {"height": 96, "width": 96},
}  # fmt: skip


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def one(preset: Preset, side: int = 96, **options: Any) -> InputContract:
    spec = TensorSpec(name="image", shape=(1, 3, side, side), layout="NCHW")
    return resolve((spec,), (), config=Config(), preset=preset, **options).inputs[0]


def made(preset: Preset, rgb: np.ndarray, side: int = 96) -> np.ndarray:
    return preprocess_image(np.ascontiguousarray(rgb[..., ::-1]), one(preset, side))[0]


def resized(rgb: np.ndarray, size: tuple[int, int], way: Image.Resampling) -> np.ndarray:
    """By Pillow along the width, then the height, as every version before 13 goes."""
    picture = Image.fromarray(rgb)
    narrow = picture.resize((size[1], picture.height), way)
    return np.asarray(narrow.resize((size[1], size[0]), way)).astype(np.float64)


def shorter(rgb: np.ndarray, side: int) -> tuple[int, int]:
    height, width = rgb.shape[:2]
    least = min(height, width)
    return int(side * height / least), int(side * width / least)


@pytest.mark.parametrize("size", [(200, 131), (120, 304), (160, 160)])
def test_timms_evaluation(size):
    """Resize(floor(96 / 0.875)), CenterCrop(96), ToTensor, Normalize."""
    rgb = noise(*size)
    side = math.floor(96 / 0.875)
    whole = resized(rgb, shorter(rgb, side), Image.Resampling.BICUBIC)
    top, left = round((whole.shape[0] - 96) / 2), round((whole.shape[1] - 96) / 2)
    cut = whole[top : top + 96, left : left + 96] / 255
    expected = ((cut - MEAN) / STD).transpose(2, 0, 1)
    ours = made(from_pretrained_cfg(CFG), rgb)
    assert np.abs(ours - expected).max() * min(STD) * 255 < 1e-3


def test_timms_other_crops_and_what_it_leaves_out():
    squashed = from_pretrained_cfg(CFG | {"crop_mode": "squash", "crop_pct": 1.0})
    rgb = noise(120, 200)
    expected = resized(rgb, (96, 96), Image.Resampling.BICUBIC) / 255
    ours = made(squashed, rgb)
    assert np.abs(ours - ((expected - MEAN) / STD).transpose(2, 0, 1)).max() < 1e-4
    border = from_pretrained_cfg(CFG | {"crop_mode": "border", "crop_pct": 1.0})
    assert border.preprocess["pad_value"] == (124, 116, 104)
    assert made(border, rgb).shape == (3, 96, 96)
    assert from_pretrained_cfg({"input_size": [3, 224, 224]}).preprocess["resize"] == 256
    assert from_pretrained_cfg(CFG | {"num_classes": 0}).task == "embedding"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"interpolation": "nearest"}, "interpolation is 'nearest'"),
        ({"crop_mode": "border"}, "crop_mode is 'border' with 96x96 and crop_pct 0.875"),
        ({"crop_mode": "five"}, "crop_mode is 'five'"),
        ({"input_size": (3, 128, 64)}, "crop_mode is 'center' with 128x64"),
        ({"mean": ("a",)}, r"mean is \('a',\)"),
    ],
)
def test_what_a_contract_cannot_say_is_named_and_not_guessed(change, words):
    preset = from_pretrained_cfg(CFG | change)
    with pytest.raises(UsageError, match=words):
        one(preset)
    stated = one(preset, preprocess={"scale": 1.0})  # what the user says takes its place, whole
    assert stated.preprocess == Preprocess(scale=1.0, resize=(96, 96))


def test_flags_win_and_each_value_has_its_origin():
    entry = one(from_pretrained_cfg(CFG), preprocess={"mean": (0.5,), "std": (0.5,)})
    assert entry.preprocess is not None
    assert (entry.preprocess.mean, entry.preprocess.resize) == ((0.5,), 109)
    assert entry.origins["mean"] == "stated"
    assert entry.origins["resize"].startswith("timm's pretrained_cfg: 96 / crop_pct 0.875")
    assert entry.assumed == ()
    contract = Contract(inputs=(entry,), outputs=())
    (said,) = preset_words(contract, from_pretrained_cfg(CFG))
    assert "resize 109 (96 / crop_pct 0.875, crop_mode center)" in said
    assert "mean 0.5 (stated)" in said
    assert "scale 1/255 (ToTensor)" in said
    assert "origins" not in contract.to_json()
    assert Contract.from_json(contract.to_json()).inputs[0].preprocess == entry.preprocess


def test_a_model_of_another_size_keeps_the_proportions():
    entry = one(from_pretrained_cfg(CFG), side=192)
    assert entry.preprocess is not None
    assert (entry.preprocess.resize, entry.preprocess.crop) == (218, (192, 192))


@pytest.mark.parametrize("size", [(200, 131), (120, 307), (160, 160)])
def test_transformers_crop_starts_rounded_down(size):
    rgb = noise(*size)
    whole = resized(rgb, shorter(rgb, 100), Image.Resampling.BICUBIC)
    top, left = (whole.shape[0] - 96) // 2, (whole.shape[1] - 96) // 2
    cut = whole[top : top + 96, left : left + 96] / 255
    ours = made(from_configs(CLIP, {}), rgb)
    assert np.abs(ours - ((cut - 0.5) / 0.5).transpose(2, 0, 1)).max() < 1e-4


def test_transformers_forms():
    def table(**change: Any) -> dict[str, Any]:
        preset = from_configs(VIT | change, {})
        assert preset.unknown == ()
        return dict(preset.preprocess)

    assert table()["resize"] == (96, 96)
    assert table(size=64)["resize"] == (64, 64)
    assert table(image_processor_type="CLIPFeatureExtractor", size=64)["resize"] == 64
    assert "interpolation" not in table(do_resize=False)
    assert table(do_rescale=False)["scale"] == 1.0
    assert table(rescale_factor=1 / 127.5, rescale_offset=True, do_normalize=False)["mean"] == (1,)
    assert "mean" not in table(do_normalize=False)
    small = table(image_processor_type="ConvNextImageProcessor", size={"shortest_edge": 224})
    assert (small["resize"], small["crop"]) == (256, (224, 224))
    large = table(image_processor_type="ConvNextImageProcessor", size={"shortest_edge": 384})
    assert (large["resize"], "crop" in large) == ((384, 384), False)
    assert table(image_processor_type="MobileViTImageProcessor")["color"] == "BGR"
    twice = table(image_processor_type="EfficientNetImageProcessor", include_top=True)
    assert twice["std"] == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resample": 0}, "resample is 0"),
        ({"resample": 17}, "resample is 17"),
        ({"image_processor_type": "DetrImageProcessor"}, "image_processor_type is 'DetrImage"),
        ({"do_pad": True}, "do_pad is True"),
        ({"size": {"shortest_edge": 8, "longest_edge": 9}}, "size is {'shortest_edge': 8"),
        ({"rescale_factor": "x"}, "rescale_factor is 'x'"),
        ({"image_mean": None}, "image_mean and image_std are None"),
        ({"do_center_crop": True, "crop_size": 128}, "larger than size: black is added"),
    ],
)
def test_fields_and_codes_of_transformers_that_are_not_known_are_named(change, words):
    with pytest.raises(UsageError, match=words):
        one(from_configs(VIT | change, {}))


def test_labels_and_tasks_of_a_folder(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["ViTForImageClassification"],
                "id2label": {"1": "dog", "0": "cat"},
            }
        )
    )
    preset = from_folder(tmp_path)
    assert preset is not None
    assert (preset.labels, preset.task) == (("cat", "dog"), "classification")
    model = SimpleNamespace(config=SimpleNamespace(_name_or_path=str(tmp_path), to_dict=dict))
    assert preset_of_model(model) == preset
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ModelError, match="not JSON"):
        from_folder(tmp_path)
    assert from_configs(None, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}).labels == ()
    assert from_folder(tmp_path / "none") is None


def test_the_hubs_cache_is_found_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--org--net"
    snapshot = folder / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    assert cached("org/net") == snapshot
    assert cached("org/other") is None
    (folder / "refs" / "main").write_bytes(b"\xff\xfe")  # a cache that is corrupt
    assert cached("org/net") is None


def test_labels_of_another_number_are_left_out():
    preset = Preset(origin="here", labels=("a", "b"), task="classification")
    scores = TensorSpec(name="scores", shape=(1, 3))
    spec = TensorSpec(name="image", shape=(1, 3, 8, 8))
    output = resolve((spec,), (scores,), config=Config(), preset=preset).outputs[0]
    assert (output.labels, output.task) == ((), "classification")


def test_torchvisions_weights_and_transforms():
    class ImageClassification:
        crop_size, resize_size, mean, std = [96], [109], list(MEAN), list(STD)
        interpolation, antialias = SimpleNamespace(value="bilinear"), True

    weights = SimpleNamespace(transforms=ImageClassification, meta={"categories": ["a", "b"]})
    flags, preset = preprocessing("net.pt2", weights)
    assert flags == {}
    assert preset is not None
    assert (preset.labels, preset.task) == (("a", "b"), "classification")
    rgb = noise(200, 131)
    whole = resized(rgb, shorter(rgb, 109), Image.Resampling.BILINEAR)
    top, left = round((whole.shape[0] - 96) / 2), round((whole.shape[1] - 96) / 2)
    cut = whole[top : top + 96, left : left + 96] / 255
    assert np.abs(made(preset, rgb) - ((cut - MEAN) / STD).transpose(2, 0, 1)).max() < 1e-4
    assert preset_of_notes({"scale": 1.0}) is None
    with pytest.raises(UsageError, match="preprocess is a int"):
        preprocessing("net.pt2", 5)


def test_keras_layers_say_whether_they_take_raw_pixels():
    def scale(*layers: tuple[str, dict[str, Any]]) -> float | None:
        preset = from_layers([("InputLayer", {}), *layers])
        return None if preset is None else preset.preprocess["scale"]

    assert scale(("Rescaling", {"scale": 1 / 255, "offset": 0.0})) == 1.0
    assert scale(("Rescaling", {"scale": [1 / 127.5], "offset": [-1.0]})) == 1.0
    assert scale(("Rescaling", {"scale": 2.0, "offset": -1.0})) == 1 / 255
    assert scale(("Resizing", {}), ("Normalization", {"mean": [120.0], "variance": [900.0]})) == 1.0
    assert scale(("Normalization", {"mean": [0.4], "variance": [0.05]})) == 1 / 255
    assert scale(("Conv2D", {}), ("Rescaling", {"scale": 1 / 255})) is None
    odd = from_layers([("Rescaling", {"scale": 0.1})])
    assert odd is not None
    assert "fits no range" in odd.unknown[0]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("mobilenet_v2", lambda rgb: rgb / 127.5 - 1),
        ("densenet", lambda rgb: (rgb / 255 - MEAN) / STD),
        ("resnet", lambda rgb: rgb[..., ::-1] - (103.939, 116.779, 123.68)),
        ("efficientnet", lambda rgb: rgb),
    ],
)
def test_keras_applications(module, expected):
    rgb = noise(120, 200)
    ours = made(from_application(module, (96, 96)), rgb)
    wanted = expected(resized(rgb, (96, 96), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.abs(ours - wanted).max() < 1e-3


ULTRALYTICS = {"names": "{0: 'person', 1: 'car'}", "imgsz": "[96, 96]", "stride": "32",
               "task": "detect"}  # fmt: skip


def test_ultralytics_properties_in_onnx():
    preset = told_preset({"metadata": ULTRALYTICS})
    assert preset is not None
    assert preset.decoder is not None
    assert (preset.labels, preset.task) == (("person", "car"), "detection")
    tensor = made(preset, np.full((40, 80, 3), 255, np.uint8))
    assert tensor[0, 0, 0] == pytest.approx(114 / 255)  # 24 rows of padding above
    assert tensor[0, 23, 0] == pytest.approx(114 / 255)
    assert tensor[0, 24, 0] == 1.0
    pose = from_metadata(ULTRALYTICS | {"task": "pose"})
    assert pose.unknown == ("task is 'pose'",)
    assert from_metadata(ULTRALYTICS | {"args": "{'nms': True}"}).decoder is None
    cut = from_metadata(ULTRALYTICS | {"task": "classify"}).preprocess
    assert (cut["resize"], cut["crop"], cut["antialias"]) == (96, (96, 96), True)
    broken = from_metadata(ULTRALYTICS | {"imgsz": "[9", "names": "{0:"})
    assert (broken.unknown, broken.labels) == (("imgsz is '[9'",), ())


def test_the_standards_properties_of_onnx():
    told = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_1_1"}
    preset = from_properties(told)
    assert preset is not None
    tensor = made(preset, np.full((96, 96, 3), (255, 0, 0), np.uint8))
    assert tensor[:, 0, 0].tolist() == pytest.approx([-1, -1, 1])
    other = from_properties(told | {"Image.NominalPixelRange": "NominalRange_16_235"})
    assert other is not None
    assert "NominalRange_16_235" in other.unknown[0]
    assert from_properties({"author": "me"}) is None


def tiny_file(folder: Path, mean: tuple[float, ...], std: tuple[float, ...]) -> Path:
    path = folder / "tiny.tflite"
    path.write_bytes(tiny.tiny_bytes())
    picture = InputContract(
        tensor=TensorSpec(name="image", shape=tiny.IMAGE, layout="NHWC"),
        preprocess=Preprocess(mean=mean, std=std),
    )
    labels = tuple(f"class {number}" for number in range(tiny.CLASSES))
    scores = OutputContract(
        tensor=TensorSpec(name="scores", shape=(1, tiny.CLASSES)),
        task="classification",
        labels=labels,
    )
    embed_standard_metadata(path, path, Contract(inputs=(picture,), outputs=(scores,)), name="tiny")
    return path


def test_standard_metadata_of_a_tflite(tmp_path):
    path = tiny_file(tmp_path, (127.5,), (64.0,))
    preset = read_preset(path)
    assert preset is not None
    assert preset.preprocess == {"scale": 1.0, "mean": (127.5,), "std": (64.0,), "color": "RGB"}
    assert preset.labels == tuple(f"class {number}" for number in range(tiny.CLASSES))
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 200)):  # damaged: told apart or nothing
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :])
        try:
            read_preset(path)
        except ModelError:
            continue


def test_ultralytics_json_behind_a_tflite(tmp_path):
    path = tmp_path / "yolo.tflite"
    path.write_bytes(tiny.tiny_bytes())
    assert read_preset(path) is None
    metadata = {"names": {"0": "person"}, "imgsz": [320, 416], "stride": 32, "task": "detect"}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", json.dumps(metadata))
    preset = read_preset(path)
    assert preset is not None
    assert (preset.size, preset.labels) == ((3, 320, 416), ("person",))


def test_a_timm_model_is_recognised_through_wrappers():
    inner = SimpleNamespace(pretrained_cfg=CFG, num_classes=4)
    preset = preset_of_model(SimpleNamespace(module=SimpleNamespace(_orig_mod=inner)))
    assert preset is not None
    assert preset.origin == "timm's pretrained_cfg"
    assert preset_of_model(object()) is None
    assert preset_of_model(SimpleNamespace(layers=object())) is None, "a module of that name"
