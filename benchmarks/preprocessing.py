"""Preprocessing that is read from a model's own notes, against the package that wrote them.

For each preset the original package's own pipeline and edgekit's contract are run on the same
pictures, and the largest difference is told in grey levels: the difference of the tensors times the
model's std, over its scale. Packages that are not installed are left out and named.

    python benchmarks/preprocessing.py PHOTOGRAPHS [--count 48]

The photographs are cut to different shapes, since a square says nothing about where a crop lies;
small ones are put together in fours first. Pillow from 13 on resizes along the height first where
that is faster, which moves bicubic pixels by some levels against all earlier versions: beside it,
stretching presets differ. transformers has two back ends, of which torchvision's rounds otherwise.
For ultralytics' letterbox its published arithmetic is written out here in OpenCV, as its package is
not needed for anything else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from edgekit.config import Config
from edgekit.contract import InputContract
from edgekit.preprocess import preprocess_image, read_image
from edgekit.presets import Preset
from edgekit.presets.huggingface import from_folder
from edgekit.presets.keras_layers import from_application
from edgekit.presets.objects import preset_of_model, preset_of_notes
from edgekit.presets.ultralytics import from_metadata
from edgekit.resolve import resolve
from edgekit.types import TensorSpec

Pipeline = Callable[[Any], Any]
"""An RGB picture of Pillow to a tensor (channels, height, width)."""
Case = tuple[str, Preset, Pipeline]

SHAPES = ((300, 448), (448, 301), (333, 448), (448, 448), (257, 390), (431, 263), (210, 203))

TIMM = (
    "mobilenetv3_large_100", "resnet50.a1_in1k", "vit_base_patch16_224.augreg_in21k_ft_in1k",
    "convnext_tiny.fb_in22k_ft_in1k", "efficientnet_b0.ra_in1k", "efficientnet_lite0.ra_in1k",
    "deit3_small_patch16_224.fb_in1k", "swin_tiny_patch4_window7_224.ms_in1k",
    "beit_base_patch16_224.in22k_ft_in22k_in1k", "mobilevit_s.cvnets_in1k",
    "regnety_016.tv2_in1k", "tf_efficientnetv2_b0.in1k", "mixnet_s.ft_in1k", "densenet121.tv_in1k",
    "inception_v3.tv_in1k", "vgg16.tv_in1k", "nf_resnet50.ra2_in1k", "fastvit_t8.apple_in1k",
    "vit_base_patch16_siglip_224.webli", "dm_nfnet_f0.dm_in1k", "repvit_m1.dist_in1k",
    "mobilenetv4_conv_small.e2400_r224_in1k",
)  # fmt: skip
TORCHVISION = (
    "ResNet50_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2",
    "MobileNet_V3_Large_Weights.IMAGENET1K_V2", "EfficientNet_B0_Weights.IMAGENET1K_V1",
    "EfficientNet_B3_Weights.IMAGENET1K_V1", "EfficientNet_V2_S_Weights.IMAGENET1K_V1",
    "ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1", "Swin_T_Weights.IMAGENET1K_V1",
    "ConvNeXt_Tiny_Weights.IMAGENET1K_V1", "Inception_V3_Weights.IMAGENET1K_V1",
    "RegNet_Y_400MF_Weights.IMAGENET1K_V2",
)  # fmt: skip
PROCESSORS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ViTImageProcessor", {}),
    ("CLIPImageProcessor", {}),
    ("BitImageProcessor", {"size": {"shortest_edge": 256}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    ("DeiTImageProcessor", {}),
    ("MobileNetV2ImageProcessor", {}),
    ("SiglipImageProcessor", {}),
    ("LevitImageProcessor", {}),
    ("MobileViTImageProcessor", {"size": {"shortest_edge": 288}}),
    ("EfficientNetImageProcessor", {"resample": 3, "size": {"height": 224, "width": 224}}),
    ("SegformerImageProcessor", {"size": {"height": 224, "width": 224}}),
)
KERAS = ("mobilenet_v2", "resnet", "densenet", "efficientnet", "mobilenet_v3", "inception_v3")


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photographs", type=Path)
    arguments.add_argument("--count", type=int, default=48)
    stated = arguments.parse_args()
    pictures = read_pictures(stated.photographs, stated.count)
    print(f"{len(pictures)} pictures of {stated.photographs}; Pillow {PIL.__version__}\n")
    print(f"{'preset':62} {'worst':>6} {'mean':>6}  grey levels")
    counts: dict[str, list[int]] = {}
    for name, preset, original in cases():
        source = name.partition(":")[0]
        told = counts.setdefault(source, [0, 0])
        told[1] += 1
        if preset.unknown:
            print(f"{name:62} {'–':>6} {'–':>6}  refused: {'; '.join(preset.unknown)}")
            continue
        worst, mean = differences(preset, original, pictures)
        told[0] += worst <= 1.001
        print(f"{name:62} {worst:6.2f} {mean:6.3f}  {'' if worst <= 1.001 else 'NOT EQUAL'}")
    print()
    for source, (equal, count) in counts.items():
        print(f"{source}: {equal} of {count} equal within one grey level")


def cases() -> Iterator[Case]:
    """All presets whose package is there."""
    for source in (timm_cases, torchvision_cases, transformers_cases, keras_cases, letterboxes):
        try:
            yield from source()
        except ImportError as error:
            print(f"left out: {error}")


def timm_cases() -> Iterator[Case]:
    import timm
    import torch

    for name in TIMM:
        with torch.device("meta"):
            model = timm.create_model(name)
        preset = preset_of_model(model)
        assert preset is not None
        config = timm.data.resolve_model_data_config(model)
        yield f"timm:{name}", preset, timm.data.create_transform(**config)


def torchvision_cases() -> Iterator[Case]:
    import torchvision

    for name in TORCHVISION:
        kind, _, member = name.partition(".")
        weights = getattr(getattr(torchvision.models, kind), member)
        preset = preset_of_notes(weights)
        assert preset is not None
        yield f"torchvision:{name}", preset, weights.transforms()


def transformers_cases() -> Iterator[Case]:
    """Configuration files written by the processors themselves, and read back by edgekit."""
    import transformers

    both = [(f"{name}{kind}", options) for kind in ("Pil", "") for name, options in PROCESSORS]
    for name, options in both:
        processor = getattr(transformers, name)(**options)

        def original(picture: Any, processor: Any = processor) -> Any:
            return processor(picture, return_tensors="np")["pixel_values"][0]

        with tempfile.TemporaryDirectory() as folder:
            processor.save_pretrained(folder)
            preset = from_folder(Path(folder))
        assert preset is not None
        backend = "Pillow" if name.endswith("Pil") else "torchvision"
        yield f"transformers on {backend}:{name}", preset, original


def keras_cases() -> Iterator[Case]:
    import keras

    for name in KERAS:
        module = getattr(keras.applications, name)

        def original(picture: Any, module: Any = module) -> Any:
            # `keras.utils.load_img(path, target_size=(224, 224), interpolation="bilinear")`
            small = picture.resize((224, 224), 2)
            array = keras.utils.img_to_array(small)
            return np.asarray(module.preprocess_input(array)).transpose(2, 0, 1)

        yield f"keras.applications:{name}", from_application(name, (224, 224)), original


def letterboxes() -> Iterator[Case]:
    """ultralytics' LetterBox: rounded sides, OpenCV's bilinear, 114 around it, less of it first."""
    import cv2

    for size in ((640, 640), (320, 416)):
        metadata = {"names": "{0: 'one', 1: 'two'}", "imgsz": str(list(size)), "stride": "32"}

        def original(picture: Any, size: tuple[int, int] = size) -> Any:
            image = np.asarray(picture)
            factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
            tall, wide = round(image.shape[0] * factor), round(image.shape[1] * factor)
            resized = cv2.resize(image, (wide, tall), interpolation=cv2.INTER_LINEAR)
            rows, columns = (size[0] - tall) / 2, (size[1] - wide) / 2
            padded = cv2.copyMakeBorder(
                resized,
                round(rows - 0.1),
                round(rows + 0.1),
                round(columns - 0.1),
                round(columns + 0.1),
                cv2.BORDER_CONSTANT,
                value=(114, 114, 114),
            )
            return padded.transpose(2, 0, 1).astype(np.float32) / 255

        preset = from_metadata({**metadata, "task": "detect"})
        yield f"ultralytics:{size[0]}x{size[1]}", preset, original


def read_pictures(folder: Path, count: int) -> list[Any]:
    """BGR pictures of different shapes."""
    endings = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in endings)
    found = [read_image(path) for path in paths[: 4 * count]]
    pictures = []
    for number in range(min(count, len(found))):
        four = [found[(4 * number + place) % len(found)] for place in range(4)]
        one = found[number]
        if min(one.shape[:2]) < 300:
            tall, wide = min(p.shape[0] for p in four), min(p.shape[1] for p in four)
            parts = [part[:tall, :wide] for part in four]
            one = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])])
        tall, wide = SHAPES[number % len(SHAPES)]
        pictures.append(np.ascontiguousarray(one[:tall, :wide]))
    return pictures


def differences(preset: Preset, original: Pipeline, pictures: list[Any]) -> tuple[float, float]:
    """The largest and the mean difference in grey levels."""
    from PIL import Image

    worst, total = 0.0, 0.0
    for picture in pictures:
        theirs = np.asarray(original(Image.fromarray(picture[..., ::-1])))
        entry = contract(preset, theirs.shape)
        ours = preprocess_image(picture, entry)[0]
        assert entry.preprocess is not None
        std = np.asarray(entry.preprocess.std).reshape(-1, 1, 1)
        levels = np.abs(ours - theirs) * std / entry.preprocess.scale
        worst, total = max(worst, float(levels.max())), total + float(levels.mean())
    return worst, total / len(pictures)


def contract(preset: Preset, shape: tuple[int, ...]) -> InputContract:
    """The contract of a model that takes one tensor of the original's shape."""
    spec = TensorSpec(name="image", shape=(1, *shape), dtype="float32", layout="NCHW")
    return resolve((spec,), (), config=Config(), preset=preset).inputs[0]


if __name__ == "__main__":
    main()
