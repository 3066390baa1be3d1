"""Hugging Face: ``preprocessor_config.json`` and ``config.json`` beside a model.

Read as transformers' image processors for one picture do; the processors that do something of their
own are named where they are not among those read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekit.contract import Interpolation, Task
from edgekit.errors import ModelError
from edgekit.files import read_text
from edgekit.presets.preset import Preset, per_channel, pixels, total
from edgekit.presets.timm import from_pretrained_cfg

PREPROCESSOR, CONFIG = "preprocessor_config.json", "config.json"

_RESAMPLE: dict[object, Interpolation] = {
    1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming",
}  # fmt: skip
"""Pillow's codes. 0 is its nearest neighbour, which is not OpenCV's."""

_SHORT = {"bit", "chineseclip", "clip", "convnext", "levit", "mobilenetv1", "mobilenetv2",
          "mobilevit", "poolformer", "siglip"}  # fmt: skip
"""The processors that take one number as the shorter side."""
_KNOWN = {*_SHORT, "beit", "deit", "efficientnet", "segformer", "swin", "vit"}
"""The processors whose order of work is the one that is read here."""

_IDLE = {
    "_processor_class", "auto_map", "data_format", "device", "disable_grouping", "do_convert_rgb",
    "do_reduce_labels", "feature_extractor_type", "image_processor_type",
    "input_data_format", "processor_class", "reduce_labels", "return_tensors",
}  # fmt: skip
"""Fields that change nothing about one RGB picture."""
_READ = {
    "crop_pct", "crop_size", "do_center_crop", "do_flip_channel_order", "do_normalize",
    "do_rescale", "do_resize", "image_mean", "image_std", "include_top", "resample",
    "rescale_factor", "rescale_offset", "size",
}  # fmt: skip

_TASKS: tuple[tuple[str, Task], ...] = (
    ("ForImageClassification", "classification"),
    ("ForSemanticSegmentation", "segmentation"),
    ("ForObjectDetection", "detection"),
)


def from_folder(folder: Path) -> Preset | None:
    """The preset of a model's folder; `None` where it has neither of the two files.

    Raises:
        ModelError: one of them cannot be read, or is not a JSON object.
    """
    tables = {
        name: _read(folder / name) for name in (PREPROCESSOR, CONFIG) if (folder / name).is_file()
    }
    if not tables:
        return None
    return from_configs(tables.get(PREPROCESSOR), tables.get(CONFIG, {}))


def _read(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(read_text(path, ModelError))
    except (ValueError, RecursionError) as error:
        cure = "Download or copy it again."
        raise ModelError(f"{path} is not JSON: {error}", cure=cure) from error
    if not isinstance(table, dict):
        raise ModelError(f"{path} is not a JSON object.", cure="Download or copy it again.")
    return table


@total(PREPROCESSOR)
def from_configs(preprocessor: Mapping[str, Any] | None, config: Mapping[str, Any]) -> Preset:
    """The preset of the two files' contents.

    Args:
        preprocessor: of ``preprocessor_config.json``, where there is one.
        config: of ``config.json``, whose ``id2label`` names the classes.
    """
    labels, task = _labels(config), _task(config)
    if "pretrained_cfg" in config:  # a timm model on the hub
        return from_pretrained_cfg(
            config["pretrained_cfg"] or {}, labels, f"{CONFIG}'s pretrained_cfg"
        )
    if preprocessor is None:
        return Preset(origin=CONFIG, labels=labels, task=task, size=_own_size(config))
    return _ProcessorReading(preprocessor).preset(labels, task)


def _labels(config: Mapping[str, Any]) -> tuple[str, ...]:
    """``id2label`` in the order of the numbers; nothing where a number is left out."""
    table = config.get("id2label")
    if not isinstance(table, dict):
        return ()
    names = {str(key): str(value) for key, value in table.items()}
    wanted = [str(number) for number in range(len(names))]
    if set(wanted) != set(names) or all(names[one] == f"LABEL_{one}" for one in wanted):
        return ()
    return tuple(names[one] for one in wanted)


def _task(config: Mapping[str, Any]) -> Task | None:
    kinds = " ".join(map(str, config.get("architectures") or ()))
    return next((task for ending, task in _TASKS if ending in kinds), None)


def _own_size(config: Mapping[str, Any]) -> tuple[int, int, int] | None:
    side = pixels(config.get("image_size"))
    return (int(config.get("num_channels") or 3), side, side) if side else None


class _ProcessorReading:
    """One ``preprocessor_config.json`` being read."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.given = table
        self.table: dict[str, Any] = {"color": "RGB", "scale": 1.0}
        self.fields: dict[str, str] = {}
        self.unknown: list[str] = []
        named = str(table.get("image_processor_type") or table.get("feature_extractor_type") or "")
        self.kind = named
        for ending in ("Fast", "Pil", "ImageProcessor", "FeatureExtractor"):
            self.kind = self.kind.removesuffix(ending)
        self.kind = self.kind.lower()
        if self.kind not in _KNOWN:
            self.unknown.append(f"image_processor_type is {named or None!r}")

    def preset(self, labels: tuple[str, ...], task: Task | None) -> Preset:
        for key, value in self.given.items():
            if key not in _READ | _IDLE and value not in (None, False):
                self.unknown.append(f"{key} is {value!r}")
        if self.given.get("do_resize", True):
            self._resize()
        if self.given.get("do_center_crop"):
            self._crop()
        self._values()
        if self.kind == "mobilevit" and self.given.get("do_flip_channel_order", True):
            self._say("color", "BGR", "do_flip_channel_order true")
        crop, resize = self.table.get("crop"), self.table.get("resize")
        window = crop or (resize if isinstance(resize, tuple) else None)
        return Preset(
            origin=PREPROCESSOR,
            preprocess=self.table,
            fields=self.fields,
            size=(3, *window) if window else None,
            task=task,
            labels=labels,
            unknown=tuple(self.unknown),
        )

    def _say(self, key: str, value: Any, field: str) -> None:
        self.table[key], self.fields[key] = value, field

    def _resize(self) -> None:
        code = self.given.get("resample")
        if (name := _RESAMPLE.get(code)) is None:
            self.unknown.append(f"resample is {code!r}")
        else:
            self._say("interpolation", name, f"resample {code}")
            self._say("antialias", True, "transformers' resize")
        size: Any = self.given.get("size")
        if (side := pixels(size)) is not None:
            size = {"shortest_edge": side} if self.kind in _SHORT else _square(side)
        match size:
            case {"height": int(height), "width": int(width)} if len(size) == 2:
                self._say("resize", (height, width), f"size {height}x{width}")
            case {"shortest_edge": int(side)} if len(size) == 1:
                self._shorter(side)
            case _:
                self.unknown.append(f"size is {size!r}")

    def _shorter(self, side: int) -> None:
        """The shorter side; three processors make more of that number."""
        if self.kind == "levit":
            self._say("resize", int(256 / 224 * side), f"size.shortest_edge {side} x 256/224")
        elif self.kind == "convnext" and side >= 384:
            self._say("resize", (side, side), f"size.shortest_edge {side}, from 384 on as a square")
        elif self.kind == "convnext":
            share = self.given.get("crop_pct") or 224 / 256
            field = f"size.shortest_edge {side} / crop_pct {share:g}"
            self._say("resize", int(side / share), field)
            self._cut(side, side, f"size.shortest_edge {side}")
        elif self.kind == "poolformer":
            self.unknown.append("PoolFormer's crop_pct")
        else:
            self._say("resize", side, f"size.shortest_edge {side}")

    def _crop(self) -> None:
        size: Any = self.given.get("crop_size")
        if (side := pixels(size)) is not None:
            size = _square(side)
        match size:
            case {"height": int(height), "width": int(width)} if len(size) == 2:
                self._cut(height, width, f"crop_size {height}x{width}")
            case _:
                self.unknown.append(f"crop_size is {size!r}")
        if (window := self.table.get("crop")) and (given := self.table.get("resize")):
            least = (given, given) if isinstance(given, int) else given
            if window[0] > least[0] or window[1] > least[1]:
                self.unknown.append(f"crop_size is {size!r}, larger than size: black is added")

    def _cut(self, height: int, width: int, field: str) -> None:
        self._say("crop", (height, width), field)
        self._say("crop_rounding", "down", "transformers' center_crop")

    def _values(self) -> None:
        if self.given.get("do_rescale", True):
            factor = self.given.get("rescale_factor", 1 / 255)
            if type(factor) not in (int, float) or not factor:
                self.unknown.append(f"rescale_factor is {factor!r}")
            else:
                self._say("scale", float(factor), f"rescale_factor {factor:g}")
        shift = 1.0 if self.given.get("rescale_offset") else 0.0
        if shift:
            self._say("mean", (1.0,), "rescale_offset true")
        # MobileViT was trained without, and says so by leaving it out.
        if not self.given.get("do_normalize", self.kind != "mobilevit"):
            return
        mean, std = (per_channel(self.given.get(key)) for key in ("image_mean", "image_std"))
        if mean is None or std is None:
            self.unknown.append(
                f"image_mean and image_std are {self.given.get('image_mean')!r} and "
                f"{self.given.get('image_std')!r}"
            )
            return
        self._say("mean", tuple(one + shift for one in mean), "image_mean")
        self._say("std", std, "image_std")
        if self.kind == "efficientnet" and self.given.get("include_top", True):
            self._say("std", tuple(one * one for one in std), "image_std twice: include_top true")


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}
