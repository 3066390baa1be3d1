"""The models that modules for apps are tested with: real ones by name, and nets for every case."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from edgekit.contract import ANTIALIASED, PLAIN, Decoder, SequenceDecoder

from .conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "unit"))

from embed_nets import SIZE, anchors, net_with

REAL = tuple(
    f"{name}_{scheme}"
    for name in ("efficientnet_lite0", "classifier", "detector", "segmenter")
    for scheme in ("fp32", "int8")
)
PHOTOS = REPOSITORY / "calibration_data"
BOXES = 9
DECODERS: dict[str, tuple[dict[str, tuple[int, ...]], dict[str, Any]]] = {
    "yolov5": ({"o": (1, 12, 8)}, {"format": "yolov5", "activation": "sigmoid"}),
    "yolov8": (
        {"o": (1, 7, 12)},
        {"format": "yolov8", "box": "xyxy", "normalized": True, "activation": "softmax"},
    ),
    "grid": (
        {"o": (1, 2, 2, 16), "p": (1, 2, 3, 3, 8)},
        {"format": "yolo-grid", "grid_anchors": (((4, 5), (9, 6)), ((3, 2), (8, 11)))},
    ),
    "ssd": (
        {"boxes": (1, BOXES, 4), "scores": (1, BOXES, 4)},
        {"format": "ssd", "scores": "scores", "activation": "softmax", "background": 1},
    ),
    "boxes": (
        {"boxes": (1, 6, 4), "scores": (1, 6), "classes": (1, 6), "count": (1,)},
        {
            "format": "boxes",
            "scores": "scores",
            "classes": "classes",
            "count": "count",
            "normalized": True,
        },
    ),
}
DECODERS["ssd_anchors"] = DECODERS["ssd"]
FORMS = {
    "planes_first": ((1, 4, 8, 6), "NCHW", None),
    "planes_last": ((1, 8, 6, 4), "NHWC", None),
    "mask": ((1, 8, 6, 1), "NHWC", None),
    "mask_logistic": ((1, 8, 6, 1), "NHWC", "LOGISTIC"),
}
SYMBOLS = tuple("abcdefgh")
SEQUENCES: dict[str, tuple[tuple[int, ...], SequenceDecoder]] = {
    "ctc_turned": ((1, 9, 20), SequenceDecoder(format="ctc", blank=-1)),
    "argmax": ((20, 1, 8), SequenceDecoder(format="argmax", end=3)),
}
_SMALL, _LARGE = SIZE + 5, 300
"""Sizes to resize to: a few times smaller than the pictures, and about as large."""
RESIZES: dict[str, dict[str, Any]] = {
    f"{way}_{size}": {"resize": size, "interpolation": way}
    for way in PLAIN
    for size in (_SMALL, _LARGE)
} | {
    f"{way}_antialias": {"resize": size, "interpolation": way, "antialias": True}
    for way, size in zip(ANTIALIASED, (_SMALL, _LARGE, _SMALL, _SMALL, _SMALL), strict=True)
}
BOXED: dict[str, dict[str, Any]] = {
    "letterbox": {"resize": SIZE},
    "letterbox_end": {
        "resize": (SIZE, SIZE - 3),
        "interpolation": "bicubic",
        "antialias": True,
        "color": "BGR",
        "pad_value": (0, 255, 90),
        "pad_place": "end",
        "enlarge": False,
    },
} | {
    f"letterbox_{way}": {"resize": (SIZE - 3, SIZE), "interpolation": way}
    for way in ("nearest", "bicubic", "area")
}
"""What a letterbox is like; the detections of each are mapped back."""
LABELS = ["$x ${1 + 1}", 'a "quoted" \\ label', "two\nlines\tand a tab", "Straßenbahn 猫"]


def boxed(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """A detector for each letterbox, and pictures with all kinds of sides: one is tiny."""
    photos = folder / "cut"
    photos.mkdir()
    first, second = sorted(PHOTOS.glob("*.jpg"))[:2]
    cv2.imwrite(str(photos / "1.png"), cv2.imread(str(first))[40:211])
    cv2.imwrite(str(photos / "2.png"), cv2.imread(str(second))[100:109, 100:108])
    shapes, table = DECODERS["yolov8"]
    decoder = Decoder(**table, score_threshold=0.05, iou_threshold=0.4)
    net = net_with(folder / "boxed.tflite", shapes, task="detection", decoder=decoder)
    for name, preprocess in BOXED.items():
        yield name, net, {"samples": photos, "preprocess": {"letterbox": True, **preprocess}}


def drawn(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """A net for each decoder, form of segmentation, reading, resize, letterbox, and for names."""
    table = str(anchors(folder / "anchors.npy", BOXES))
    for name, (shapes, decoder) in DECODERS.items():
        chosen = Decoder(
            **decoder,
            score_threshold=0.05,
            iou_threshold=0.4,
            anchors=table if name.endswith("anchors") else None,
        )
        yield (
            name,
            net_with(folder / f"{name}.tflite", shapes, task="detection", decoder=chosen),
            {},
        )
    for name, (shape, layout, last) in FORMS.items():
        net = net_with(
            folder / f"{name}.tflite",
            {"o": shape},
            task="segmentation",
            layouts={"o": layout},
            last=last,
        )
        yield name, net, {}
    for name, (shape, sequence) in SEQUENCES.items():
        net = net_with(
            folder / f"{name}.tflite",
            {"o": shape},
            task="sequence",
            decoder=sequence,
            labels=SYMBOLS,
        )
        yield name, net, {}
    net = net_with(folder / "values.tflite", {"o": (1, 5)}, task="regression")
    for name, preprocess in RESIZES.items():
        rounding = "down" if "antialias" in name else "even"
        cut = {"crop": (SIZE, SIZE), "crop_rounding": rounding}
        yield name, net, {"preprocess": {**cut, **preprocess}}
    net = net_with(folder / "gray.tflite", {"o": (1, 5)}, task="regression")
    plain = {"resize": None, "crop": (SIZE, SIZE), "scale": 1.0, "mean": (0.0,), "std": (1.0,)}
    yield "raw_pixels", net, {"preprocess": plain}
    yield from boxed(folder)
    evil = 'scores\nclass Evil /* "$evil" \\'
    yield (
        "labelled",
        net_with(folder / "labelled.tflite", {evil: (1, 4)}, task="classification", labels=LABELS),
        {},
    )
