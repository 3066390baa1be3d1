"""The model contract: what goes in, what comes out, and how a picture becomes a tensor.

One contract serves calibration, the reference, validation, the metadata inside the `.tflite` and
generated app code. It is stated in ``edgekit.toml`` and by flags (`edgekit.config`), completed with
what the model itself tells (`edgekit.resolve`), and written into every `.tflite`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

from edgekit.errors import UsageError
from edgekit.files import shown
from edgekit.types import Layout, TensorSpec

SCHEMA_VERSION = 1
MOST_ELEMENTS = 1 << 28
"""Of one sample's tensor: a gigabyte of float32. More is a slip, and no edge device holds it."""
_MOST_NUMBER = 1e30
"""What float32 can still compute with."""
_MOST_PIXELS = 1 << 14
"""Of one side of a picture."""


Color: TypeAlias = Literal["RGB", "BGR", "GRAY"]


Interpolation: TypeAlias = Literal[
    "bilinear", "bicubic", "area", "nearest", "box", "hamming", "lanczos"
]
PLAIN = ("bilinear", "bicubic", "area", "nearest")
"""The interpolations that read a few neighbours, however much smaller a picture gets (OpenCV's)."""
ANTIALIASED = ("box", "bilinear", "hamming", "bicubic", "lanczos")
"""Those that take in every pixel that is left out (Pillow's, torchvision's, timm's)."""


CropRounding: TypeAlias = Literal["even", "down"]


PadPlace: TypeAlias = Literal["centre", "end"]
LETTERBOX = ("letterbox", "pad_value", "pad_place", "enlarge")
"""The keys of `Preprocess` that say how a letterbox is made."""


Task: TypeAlias = Literal[
    "classification",
    "detection",
    "segmentation",
    "regression",
    "embedding",
    "image-to-image",
    "sequence",
    "keypoints",
    "depth",
]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an 8-bit picture to the tensor that the model expects, in this order.

    Attributes:
        resize: the shorter side in pixels (aspect ratio kept), or (height, width) exactly.
        crop: centre crop, (height, width) in pixels.
        crop_rounding: where it starts when an odd number of pixels is left over: half of them to
            the nearest ``even`` number (torchvision, timm), or rounded ``down`` (transformers).
        color: the channel order the model expects.
        scale: multiplied onto the 0…255 values first.
        mean: subtracted then, per channel (or one value for all).
        std: divided by last, per channel (or one value for all).
        interpolation: how the resize computes pixels.
        antialias: the resize is Pillow's, whose filter grows with the factor, as of torchvision's
            and timm's presets; otherwise OpenCV's.
        letterbox: the picture keeps its aspect ratio and fits into ``resize`` (one number: its
            longer side has so many pixels); the rest of the model's input is padded.
        pad_value: the 8-bit value of the padding, before scale, mean and std; per channel in the
            order of ``color``, or one for all.
        pad_place: the picture lies in the centre, or the padding is at the right and lower end.
        enlarge: whether a letterbox makes pictures larger that are smaller than ``resize``.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    crop_rounding: CropRounding = "even"
    color: Color = "RGB"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: Interpolation = "bilinear"
    antialias: bool = False
    letterbox: bool = False
    pad_value: tuple[int, ...] = (114,)
    pad_place: PadPlace = "centre"
    enlarge: bool = True

    @property
    def value_range(self) -> tuple[float, float]:
        """The lowest and highest value that this preprocessing can give."""
        channels = max(len(self.mean), len(self.std))
        mean = self.mean * (channels // len(self.mean))
        std = self.std * (channels // len(self.std))
        ends = [
            (pixel * self.scale - m) / s
            for pixel in (0, 255)
            for m, s in zip(mean, std, strict=True)
        ]
        return min(ends), max(ends)


@dataclass(frozen=True, kw_only=True)
class InputContract:
    """One input: its tensor, and its preprocessing where it is a picture."""

    tensor: TensorSpec
    preprocess: Preprocess | None = None
    assumed: tuple[str, ...] = ()
    """What nobody stated and edgekit had to assume, in words for the user."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Who says the values of ``preprocess``, by key; of this run, and not written into files."""
    folded: Preprocess | None = None
    """What the original model is given, where the graph normalises by itself: ``preprocess`` then
    makes raw pixels, see `edgekit.raw_pixels`."""


BoxFormat: TypeAlias = Literal["xyxy", "yxyx", "xywh", "cxcywh"]


DecoderFormat: TypeAlias = Literal["yolov8", "yolov5", "yolo-grid", "ssd", "boxes", "table"]


Activation: TypeAlias = Literal["none", "sigmoid", "softmax"]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How a detector's outputs become boxes (`edgekit.validation.metrics.decode`).

    Attributes:
        format: ``yolov8`` (1, 4 + C, N) and ``yolov5`` (1, N, 5 + C), both decoded to boxes;
            ``yolo-grid`` the raw heads of YOLOv5 and YOLOv7; ``ssd`` boxes and scores, perhaps
            against anchors; ``boxes`` boxes, scores and classes after suppression; ``table`` the
            same as one output (1, N, 6): box, score, class.
        box: the order of a box's four numbers; each format has its own default.
        normalized: boxes are fractions of the input's size, not pixels.
        scores: the output with the scores (``ssd``, ``boxes``); this output has the boxes.
        classes: the output with the classes (``boxes``).
        count: the output with the number of boxes (``boxes``), where there is one.
        activation: what turns the scores into 0…1.
        background: the number of the class that means nothing; those after it move up by one.
        anchors: an ``.npy`` with (N, 4) anchors (cx, cy, w, h) that ``ssd`` boxes are relative to.
        variances: what offsets to anchors are multiplied with: of x, y, w, h.
        grid_anchors: ``yolo-grid``: for each output a (w, h) in pixels for each anchor.
        score_threshold: boxes below it are dropped before suppression.
        iou_threshold: boxes of a class that overlap more than this suppress each other.
        max_detections: how many stay in one picture.
    """

    format: DecoderFormat
    box: BoxFormat | None = None
    normalized: bool = False
    scores: str | None = None
    classes: str | None = None
    count: str | None = None
    activation: Activation = "none"
    background: int | None = None
    anchors: str | None = None
    variances: tuple[float, ...] = (0.1, 0.1, 0.2, 0.2)
    grid_anchors: tuple[tuple[tuple[float, ...], ...], ...] = ()
    score_threshold: float = 0.001
    iou_threshold: float = 0.65
    max_detections: int = 100


SequenceFormat: TypeAlias = Literal["ctc", "argmax"]


@dataclass(frozen=True, kw_only=True)
class SequenceDecoder:
    """How an output of a score for each step and symbol is read (`…metrics.sequence`).

    Attributes:
        format: ``ctc``: the best symbol of each step, repeated ones once, without the blank;
            ``argmax``: the best symbol of each step up to the end symbol.
        blank: the number of ``ctc``'s blank; -1 is the last one.
        end: the number of ``argmax``'s end symbol; -1 is the last one.
    """

    format: SequenceFormat
    blank: int | None = None
    end: int | None = None


@dataclass(frozen=True, kw_only=True)
class OutputPart:
    """A file's output that is a part of the model's.

    The model's output is its parts, concatenated along ``axis`` in the order of ``start``.

    Attributes:
        of: the name of the model's output.
        axis: of the file's tensor.
        start, size: where along the axis the part lies.
    """

    of: str
    axis: int
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class OutputContract:
    """One output: its tensor, and what it means.

    ``labels`` are the names of classes, or the symbols of a sequence; ``decoder`` says how it
    becomes boxes, ``sequence`` how it is read.
    """

    tensor: TensorSpec
    task: Task | None = None
    labels: tuple[str, ...] = ()
    decoder: Decoder | None = None
    sequence: SequenceDecoder | None = None
    part: OutputPart | None = None


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The inputs and outputs of a model, in the model's own order."""

    inputs: tuple[InputContract, ...] = ()
    outputs: tuple[OutputContract, ...] = ()

    @property
    def task(self) -> Task | None:
        """The task of the first output that states one."""
        return next((output.task for output in self.outputs if output.task), None)

    def to_json(self) -> str:
        """The contract as stable JSON (what is embedded into a `.tflite`)."""
        data = asdict(self)
        for entry in data["inputs"]:
            del entry["origins"]
        for entry in (*data["inputs"], *data["outputs"]):
            if not entry["tensor"]["resizable"]:
                del entry["tensor"]["resizable"]
        return json.dumps({"version": SCHEMA_VERSION, **data}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            UsageError: the text is not a contract of a version that this edgekit knows.
        """
        try:
            data = json.loads(text)
            if data["version"] != SCHEMA_VERSION:
                raise UsageError(
                    f"The contract has version {data['version']}, this edgekit knows "
                    f"version {SCHEMA_VERSION}.",
                    cure="Install a newer edgekit.",
                )
            return cls(
                inputs=tuple(
                    InputContract(
                        tensor=_tensor(entry["tensor"]),
                        preprocess=preprocess_from_table(entry["preprocess"])
                        if entry["preprocess"]
                        else None,
                        assumed=_texts(entry["assumed"]),
                        folded=preprocess_from_table(entry["folded"])
                        if entry.get("folded")
                        else None,
                    )
                    for entry in data["inputs"]
                ),
                outputs=tuple(
                    OutputContract(
                        tensor=_tensor(entry["tensor"]),
                        task=_one_of(entry["task"], (None, *get_args(Task))),
                        labels=_texts(entry["labels"]),
                        decoder=decoder_from_table(entry["decoder"])
                        if entry.get("decoder")
                        else None,
                        sequence=sequence_from_table(entry["sequence"])
                        if entry.get("sequence")
                        else None,
                        part=_part(entry["part"]) if entry.get("part") else None,
                    )
                    for entry in data["outputs"]
                ),
            )
        except (
            ArithmeticError,
            AttributeError,
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise UsageError(f"Not an edgekit contract: {shown(repr(error))}") from error


def preprocess_from_table(table: Mapping[str, Any]) -> Preprocess:
    """A `Preprocess` from a TOML or JSON table, checked.

    Raises:
        UsageError: an unknown key, a value that makes no sense, or values that contradict others.
    """
    result = check_preprocess(table)
    _check_resampling(result)
    _check_letterbox(result)
    return result


def check_preprocess(table: Mapping[str, Any]) -> Preprocess:
    """A part of a preprocessing, whose values are checked; what they mean together is not.

    Raises:
        UsageError: an unknown key or a value that makes no sense.
    """
    only_known_keys(table, {f.name for f in fields(Preprocess)}, "preprocess")
    values = dict(table)
    if (resize := values.get("resize")) is not None:
        whole = isinstance(resize, Integral)
        values["resize"] = _pixels(resize, "resize") if whole else _pair(resize, "resize")
    if (crop := values.get("crop")) is not None:
        values["crop"] = _pair([crop, crop] if isinstance(crop, Integral) else crop, "crop")
    for name, value in values.items():
        if name in ("mean", "std"):
            values[name] = tuple(_number(one, name) for one in _several(value))
        elif name in ("antialias", "letterbox", "enlarge") and type(value) is not bool:
            raise UsageError(f"{name} is {value!r}; it must be true or false.")
    if "pad_value" in values:
        values["pad_value"] = _levels(values["pad_value"])
    if "scale" in values:
        values["scale"] = _number(values["scale"], "scale")
    result = Preprocess(**values)
    for name, kinds in _CHOICES.items():
        if (value := getattr(result, name)) not in get_args(kinds):
            raise UsageError(f"{name} is {value!r}; it must be one of {get_args(kinds)}.")
    _check_means(result)
    return result


_CHOICES = {
    "color": Color,
    "interpolation": Interpolation,
    "pad_place": PadPlace,
    "crop_rounding": CropRounding,
}


def _check_means(preprocess: Preprocess) -> None:
    mean, std = preprocess.mean, preprocess.std
    if not mean or not std or any(abs(one) < 1 / _MOST_NUMBER for one in std):
        raise UsageError("mean and std need at least one value each, and no std may be 0.")
    if len(mean) > 1 and len(std) > 1 and len(mean) != len(std):
        raise UsageError(f"mean has {len(mean)} values, std has {len(std)}.")


def _check_resampling(preprocess: Preprocess) -> None:
    """Refuse a resize that no library has."""
    name, antialias = preprocess.interpolation, preprocess.antialias
    if antialias and name not in ANTIALIASED:
        raise UsageError(
            f"The interpolation {name} has no antialias.",
            cure=f"State one of {', '.join(ANTIALIASED)}, or --no-antialias (antialias = false).",
        )
    if not antialias and name not in PLAIN:
        raise UsageError(
            f"The interpolation {name} is Pillow's, which goes with antialias.",
            cure=f"State --antialias (antialias = true), or one of {', '.join(PLAIN)}.",
        )


def _check_letterbox(preprocess: Preprocess) -> None:
    """Refuse a letterbox that says two things, and what says something about none."""
    if preprocess.letterbox and preprocess.crop is not None:
        raise UsageError(
            "A letterbox pads what a crop would cut off; both are stated.",
            cure="Leave out --crop (crop), or state --no-letterbox (letterbox = false).",
        )
    plain = Preprocess()
    stated = (preprocess.pad_value, preprocess.pad_place, preprocess.enlarge)
    if not preprocess.letterbox and stated != (plain.pad_value, plain.pad_place, plain.enlarge):
        raise UsageError(
            "pad_value, pad_place and enlarge say how a letterbox is made, and none is stated.",
            cure="State --letterbox (letterbox = true), or leave them out.",
        )


def decoder_from_table(table: Mapping[str, Any]) -> Decoder:
    """A `Decoder` from a TOML or JSON table, checked.

    Raises:
        UsageError: an unknown key or a value that makes no sense.
    """
    only_known_keys(table, {f.name for f in fields(Decoder)}, "decoder")
    values = {key: value for key, value in table.items() if value is not None}
    choices = {"format": DecoderFormat, "box": BoxFormat, "activation": Activation}
    for name, kinds in choices.items():
        if name in values and values[name] not in get_args(kinds):
            raise UsageError(
                f"decoder: {name} is {values[name]!r}; it must be one of {get_args(kinds)}."
            )
    if "format" not in values:
        raise UsageError("decoder has no format.", cure='For example format = "yolov8"')
    for name in ("score_threshold", "iou_threshold"):
        if name in values and not 0 <= _number(values[name], name) <= 1:
            raise UsageError(f"decoder: {name} is {values[name]}; it must be within 0…1.")
    if "max_detections" in values and (
        type(values["max_detections"]) is not int or values["max_detections"] < 1
    ):
        raise UsageError("decoder: max_detections must be a whole number from 1.")
    if "variances" in values:
        values["variances"] = tuple(_number(v, "variances") for v in values["variances"])
    values["grid_anchors"] = tuple(
        tuple(tuple(_number(v, "grid_anchors") for v in anchor) for anchor in scale)
        for scale in values.get("grid_anchors", ())
    )
    decoder = Decoder(**values)
    _check_decoder(decoder)
    return decoder


def _check_decoder(decoder: Decoder) -> None:
    """Refuse a decoder that lacks what its format cannot do without."""
    needs = {"ssd": ("scores",), "boxes": ("scores", "classes"), "yolo-grid": ("grid_anchors",)}
    for name in needs.get(decoder.format, ()):
        if not getattr(decoder, name):
            raise UsageError(
                f"decoder: the format {decoder.format} needs {name}.",
                cure="Say it in decoder = { … } of the output in edgekit.toml.",
            )
    if len(decoder.variances) != 4 or any(
        len(anchor) != 2 for scale in decoder.grid_anchors for anchor in scale
    ):
        raise UsageError("decoder: variances has 4 numbers, each of grid_anchors has 2.")


def is_of_sequence(table: Mapping[str, Any]) -> bool:
    """Whether a ``decoder`` table says how a sequence is read."""
    return table.get("format") in get_args(SequenceFormat)


def sequence_from_table(table: Mapping[str, Any]) -> SequenceDecoder:
    """A `SequenceDecoder` from a TOML or JSON table, checked.

    Raises:
        UsageError: an unknown key, or the symbol is missing that the format cannot do without.
    """
    only_known_keys(table, {f.name for f in fields(SequenceDecoder)}, "decoder")
    values = {key: value for key, value in table.items() if value is not None}
    needed = "blank" if values["format"] == "ctc" else "end"
    for name in ("blank", "end"):
        value = {"first": 0, "last": -1}.get(str(values.get(name)), values.get(name))
        if name != needed and value is None:
            continue
        if name != needed or type(value) is not int or value < -1:
            raise UsageError(
                f"decoder: the format {values['format']} needs {needed} and nothing else; it must "
                'be "first", "last" or a number.',
                cure=f'For example decoder = {{ format = "{values["format"]}", '
                f'{needed} = "first" }}',
            )
        values[name] = value
    return SequenceDecoder(**values)


def check_elements(shape: Sequence[int | None], name: str) -> None:
    """Refuse a tensor whose size is a slip, before anything makes room for it.

    Raises:
        UsageError: it has more than `MOST_ELEMENTS` values.
    """
    if math.prod(size or 1 for size in shape) > MOST_ELEMENTS:
        written = "x".join("?" if size is None else str(size) for size in shape)
        raise UsageError(
            f"Input {name} of shape {shown(written)} has more than {MOST_ELEMENTS:,} values for "
            "one sample.",
            cure=f"State the size that the app will use, for example --input {name}:1x3x224x224",
        )


def check_label_count(output: OutputContract) -> None:
    """Refuse class names that are not as many as the scores that they name.

    Checked where the scores can be counted: of a classifier, and of any vector of scores. One
    score alone may tell two classes apart.

    Raises:
        UsageError: there are more names than scores, or fewer.
    """
    sizes = [size for size in output.tensor.shape if size is not None]
    vector = None not in output.tensor.shape[1:] and math.prod(sizes) == max(sizes, default=0)
    if not output.labels or not vector or output.task not in (None, "classification"):
        return
    scores = max(sizes)
    if len(output.labels) != scores and (scores, len(output.labels)) != (1, 2):
        raise UsageError(
            f"Output {output.tensor.name} has {scores} scores, and there are "
            f"{len(output.labels)} class names.",
            cure="Give one name for each score, in their order, one a line.",
        )


def image_axes(spec: TensorSpec) -> tuple[int, int, int] | None:
    """The axes (height, width, channels) of an image tensor (1, …), ``None`` if it is none.

    The layout decides where it is stated; otherwise the axis with 1, 3 or 4 entries is the
    channels, the second axis first (PyTorch's habit).
    """
    if len(spec.shape) != 4:
        return None
    if spec.layout == "NCHW" or (spec.layout is None and spec.shape[1] in (1, 3, 4)):
        return 2, 3, 1
    if spec.layout == "NHWC" or spec.shape[3] in (1, 3, 4):
        return 1, 2, 3
    return None


def _tensor(entry: Mapping[str, Any]) -> TensorSpec:
    shape = entry["shape"]
    if not all(size is None or _is_count(size) for size in shape):
        raise ValueError(f"the shape {shape}")
    name, dtype = _texts([entry["name"], entry["dtype"]])
    layout = _one_of(entry["layout"], (None, *get_args(Layout)))
    axes = entry.get("resizable", ())
    if not all(_is_count(axis) and axis < len(shape) for axis in axes):
        raise ValueError(f"the resizable axes {axes}")
    return TensorSpec(
        name=name, shape=tuple(shape), dtype=dtype, layout=layout, resizable=tuple(axes)
    )


def _part(entry: Mapping[str, Any]) -> OutputPart:
    part = OutputPart(**entry)
    _texts([part.of])
    if not all(map(_is_count, (part.axis, part.start, part.size))):
        raise ValueError(f"the part {entry}")
    return part


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 31


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"{value!r} where texts belong")
    return tuple(value)


def _one_of(value: Any, known: Sequence[Any]) -> Any:
    if value not in known:
        raise ValueError(f"{value!r}, which is none of {known}")
    return value


def _pair(value: Any, name: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UsageError(f"{name} is {value!r}; it must be one number, or [height, width].")
    return _pixels(value[0], name), _pixels(value[1], name)


def _pixels(value: Any, name: str) -> int:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or not 1 <= value <= _MOST_PIXELS:
        raise UsageError(
            f"{name} is {str(value)[:40]}; it must be a whole number of pixels from 1 to "
            f"{_MOST_PIXELS}."
        )
    return int(value)


def _levels(value: Any) -> tuple[int, ...]:
    """One grey level, or one for each channel."""
    levels = [_number(one, "pad_value") for one in _several(value)]
    whole = all(one.is_integer() and 0 <= one <= 255 for one in levels)
    if not whole or not 1 <= len(levels) <= 4:
        raise UsageError(
            f"pad_value is {str(value)[:40]}; it must be a whole number from 0 to 255, or one for "
            "each channel."
        )
    return tuple(map(int, levels))


def _several(value: Any) -> Sequence[Any]:
    """One value for all channels, or one for each."""
    return value if isinstance(value, list | tuple) else [value]


def _number(value: Any, name: str) -> float:
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not abs(value) <= _MOST_NUMBER:  # NaN is not, either
        raise UsageError(f"{name} is {str(value)[:40]!r}; it must be a finite number.")
    return float(value)


def only_known_keys(table: Mapping[str, Any], known: set[str], where: str) -> None:
    """Refuse a table with a key that nobody knows (a typing mistake must not pass unseen)."""
    if unknown := sorted(set(table) - known):
        raise UsageError(
            f"{where} has the unknown key {unknown[0]!r}.",
            cure=f"Known keys: {', '.join(sorted(known))}",
        )
