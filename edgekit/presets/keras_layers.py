"""Keras: layers at the start of a graph that normalise, and what ``keras.applications`` wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.presets.preset import Preset, per_channel, total

_RAW_SCALE, _UNIT_SCALE = 1 / 50, 0.5
"""A Rescaling by less than the first takes pixels 0…255, one by more than the second 0…1."""

_MODES: dict[str, dict[str, Any]] = {
    "tf": {"color": "RGB", "scale": 1 / 127.5, "mean": (1.0,), "std": (1.0,)},
    "torch": {
        "color": "RGB",
        "scale": 1 / 255,
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    "caffe": {
        "color": "BGR",
        "scale": 1.0,
        "mean": (103.939, 116.779, 123.68),
        "std": (1.0,),
    },
    "raw": {"color": "RGB", "scale": 1.0, "mean": (0.0,), "std": (1.0,)},
}
"""What the ``preprocess_input`` of ``keras.applications`` does; ``raw`` leaves it to the model."""

_APPLICATIONS = {
    "convnext": "raw", "densenet": "torch", "efficientnet": "raw", "efficientnet_v2": "raw",
    "inception_resnet_v2": "tf", "inception_v3": "tf", "mobilenet": "tf", "mobilenet_v2": "tf",
    "mobilenet_v3": "raw", "nasnet": "tf", "resnet": "caffe", "resnet_v2": "tf", "vgg16": "caffe",
    "vgg19": "caffe", "xception": "tf",
}  # fmt: skip


@total("the model's own layers")
def from_layers(layers: Sequence[tuple[str, Mapping[str, Any]]]) -> Preset | None:
    """The preset of a graph that begins with preprocessing; `None` where it does not.

    Args:
        layers: classes and configurations of the first layers, from the input on.
    """
    origin = "the model's own layers"
    for kind, config in layers:
        match kind:
            case "Rescaling":
                scale = per_channel(config.get("scale"))
                field = f"{kind}(scale={_words(scale)}, offset={_words(config.get('offset'))})"
                if scale is None or _RAW_SCALE < max(map(abs, scale)) < _UNIT_SCALE:
                    return Preset(origin=origin, unknown=(f"{field} fits no range of pixels",))
                raw = max(map(abs, scale)) <= _RAW_SCALE
            case "Normalization":
                mean, spread = per_channel(config.get("mean")), per_channel(config.get("variance"))
                if mean is None or spread is None:
                    return None
                field = f"{kind}(mean={_words(mean)}, variance={_words(spread)})"
                raw = max(spread) > 4 or max(map(abs, mean)) > 4
            case "InputLayer" | "Resizing" | "CenterCrop" | "ZeroPadding2D" | "Identity":
                continue
            case _:
                return None
        table = {"scale": 1.0 if raw else 1 / 255, "mean": (0.0,), "std": (1.0,)}
        return Preset(origin=origin, preprocess=table, fields=dict.fromkeys(table, field))
    return None


def from_application(module: str, size: tuple[int, int], labels: Sequence[str] = ()) -> Preset:
    """The preset of a model of ``keras.applications``.

    Keras says nothing about the resize; its ``load_img`` stretches pictures by Pillow.

    Args:
        module: where ``preprocess_input`` is, such as ``mobilenet_v2``.
        size: height and width of the input.
        labels: the names of the classes.
    """
    origin = f"keras.applications.{module}"
    mode = _APPLICATIONS.get(module)
    if mode is None:
        return Preset(origin=origin, unknown=(f"its preprocess_input is not known here: {module}",))
    table = {**_MODES[mode], "resize": size, "interpolation": "bilinear", "antialias": True}
    said = f"preprocess_input, mode {mode}" if mode != "raw" else "the model normalises by itself"
    fields = dict.fromkeys(("color", "scale", "mean", "std"), said)
    return Preset(
        origin=origin,
        preprocess=table,
        fields={**fields, "resize": f"input {size[0]}x{size[1]}"},
        size=(3, *size),
        task="classification",
        labels=tuple(labels),
    )


def _words(value: object) -> str:
    numbers = per_channel(value)
    return ", ".join(f"{one:g}" for one in numbers) if numbers else repr(value)
