"""What templates are handed: one frozen description of a file, with every default filled in.

Nothing in it is left to a template to decide: axes are numbers, box orders are stated, outputs that
the file has in parts are listed with where each part goes. The order of work is

    picture → resize → crop, or a letterbox's padding → colour, normalise, quantize → run
            → dequantize, join parts → softmax, boxes, classes per pixel, or plain values
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from edgekit.contract import (
    Activation,
    BoxFormat,
    Color,
    CropRounding,
    DecoderFormat,
    Interpolation,
    SequenceFormat,
)

Delegate: TypeAlias = Literal["cpu", "gpu", "npu"]


@dataclass(frozen=True, kw_only=True)
class Names:
    """The module's name as each language writes names; all are identifiers in all of them.

    Attributes:
        title: as the user or the file says it; only for text.
        snake, camel, pascal, kebab, upper: ``my_net``, ``myNet``, ``MyNet``, ``my-net`` and
            ``MY_NET``.
    """

    title: str
    snake: str
    camel: str
    pascal: str
    kebab: str
    upper: str


@dataclass(frozen=True, kw_only=True)
class PortQuantization:
    """``real = scale · (stored − zero_point)``."""

    scale: float
    zero_point: int


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """An input or output as the file stores it.

    Attributes:
        name: the contract's.
        place: its number among the file's inputs or outputs.
        shape: without open dimensions.
        dtype: float32, int8, uint8, int16, int32 or int64.
        quantization: ``None`` where values are stored as they are.
        step: of real values that were integers just before: the largest scale among them. Two
            processors may round such a value to neighbouring steps. 0 where none were.
    """

    name: str
    place: int
    shape: tuple[int, ...]
    dtype: str
    quantization: PortQuantization | None
    step: float = 0.0

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def signature_place(self) -> int:
        """Its number in LiteRT's signatures, which is the file's whatever order they list.

        Measured with LiteRT 2.3.0 (`tests/e2e/test_embed_cpp.py`).
        """
        return self.place


@dataclass(frozen=True, kw_only=True)
class Resize:
    """How a picture gets its size: `edgekit.embed.resize` has the arithmetic.

    Attributes:
        shorter: the shorter side in pixels, aspect ratio kept (the longer one is cut, not rounded);
            ``None`` where both sides are stated.
        height, width: both sides; 0 with ``shorter``. With a `Letterbox` the sides of the box that
            the picture is fitted into.
        interpolation: as OpenCV computes it on 8 bits, or with ``antialias`` as Pillow does.
    """

    shorter: int | None
    height: int
    width: int
    interpolation: Interpolation
    antialias: bool

    @property
    def method(self) -> str:
        """Which of the templates computes it."""
        return "antialias" if self.antialias else self.interpolation

    @property
    def words(self) -> str:
        """How, for a README."""
        if self.antialias:
            return f"{self.interpolation}, antialiased, as Pillow computes it on 8 bits"
        return f"{self.interpolation} as OpenCV computes it on 8 bits"


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """A picture that keeps its aspect ratio, and what fills the rest of the model's input.

    Attributes:
        enlarge: a picture smaller than the box is made larger.
        centre: it lies in the centre (of an odd padding less comes first), or else at the upper
            left.
        pad: the padding's RGB.
    """

    enlarge: bool
    centre: bool
    pad: tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class PictureInput:
    """The picture that the model takes, and how an RGB picture becomes its tensor.

    Attributes:
        tensor: as stored.
        height, width, channels: of the tensor; channels are 1 or 3.
        channels_first: the tensor is (1, C, H, W), not (1, H, W, C).
        color: RGB, BGR or GRAY (``(9798·R + 19235·G + 3735·B + 16384) >> 15``).
        resize: ``None``: the picture must have the right size already.
        crop: centre crop (height, width) after it, from ``round((size − crop) / 2)``; ``None`` for
            none.
        crop_rounding: a half in that is rounded to the ``even`` number, or ``down``.
        letterbox: how the rest of the input is padded; ``None`` where the picture fills it.
        scale, mean, std: ``(pixel · scale − mean) / std`` in float32, mean and std per channel.
        normalises: whether that changes anything; not so where it is folded into the model.
    """

    tensor: FileTensor
    height: int
    width: int
    channels: int
    channels_first: bool
    color: Color
    resize: Resize | None
    crop: tuple[int, int] | None
    crop_rounding: CropRounding
    letterbox: Letterbox | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def normalises(self) -> bool:
        """Whether scale, mean and std change the pixels."""
        return self.scale != 1 or any(self.mean) or any(one != 1 for one in self.std)

    @property
    def resize_words(self) -> str:
        """What becomes of a picture's size, for a README."""
        size = f"{self.height} x {self.width}"
        if self.letterbox:
            where = "in the centre of" if self.letterbox.centre else "at the upper left of"
            colour = ", ".join(map(str, self.letterbox.pad))
            return f"{self._fitted}, {where} {size} pixels; the others are {colour} (RGB)"
        if self.resize is None:
            rest = "or larger; the middle is taken" if self.crop else "already"
            return f"nothing: the picture must be {size} {rest}"
        words = f"to height {self.resize.height} and width {self.resize.width}"
        if self.resize.shorter:
            shorter = self.resize.shorter
            words = f"the shorter side to {shorter} pixels, the longer one in proportion"
        middle = ", then the middle {} x {}".format(*self.crop) if self.crop else ""
        return f"{words}, {self.resize.words}{middle}"

    @property
    def _fitted(self) -> str:
        if self.resize is None or self.letterbox is None:
            return "nothing: the picture stays as large as it is"
        smaller = "" if self.letterbox.enlarge else ", a smaller one left as it is"
        box = f"{self.resize.height} x {self.resize.width}"
        return f"in proportion to fit into {box}{smaller}, {self.resize.words}"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A tensor of the file that is a part of an output: where along the axis it starts."""

    tensor: int
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Output:
    """One of the model's outputs in real numbers, put together from the file's tensors.

    With ``outer`` = product of the sizes before ``axis`` and ``inner`` = that of those after it,
    value ``(o, start + i, n)`` of the output is value ``(o, i, n)`` of the part.

    Attributes:
        name: the contract's.
        shape: of the whole, with the batch axis.
        axis: along which the parts lie.
        parts: one that covers the whole axis where the file has it whole.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def outer(self) -> int:
        """The product of the sizes before the axis."""
        return prod(self.shape[: self.axis])

    @property
    def inner(self) -> int:
        """The product of the sizes after the axis."""
        return prod(self.shape[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Scores → the best classes. Result rows: class, probability; best first, ``top_k`` of them.

    Equal ones stay in the order of their numbers.

    Attributes:
        output: which of the outputs has the scores.
        classes: how many.
        activation: what turns them into probabilities: none, softmax or sigmoid.
        why: how that is known, for the README.
        top_k: how many are returned unless the app asks for another number.
        labels: their names; empty where nobody told.
    """

    output: int
    classes: int
    activation: Activation
    why: str
    top_k: int
    labels: tuple[str, ...]
    kind: Literal["classification"] = "classification"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Boxes. Result rows: x1, y1, x2, y2 in pixels of the model's input, score, class; best first.

    As `edgekit.validation.metrics.decode` computes it, in double precision: every (box, class) with
    a score from ``score_threshold`` on is a candidate, in the order of falling scores (equal ones
    in the order of box, then class), at most ``candidates``; one goes when a better one of its
    class overlaps it by more than ``iou_threshold``.

    Attributes:
        format: which decoder; `edgekit.contract.Decoder` describes each.
        box: the order of a box's four numbers.
        normalized: boxes are fractions of the input, not pixels.
        boxes: the output that the decoder was stated for.
        scores, selected, count: outputs with the scores, the classes and the number of boxes, where
            the format has them.
        heads: the outputs of yolo-grid.
        activation: of the scores, over the classes of a box for softmax.
        background: the class that means nothing; those after it move up by one.
        anchors: (cx, cy, w, h) each, in the boxes' own unit; empty for none.
        rows, columns: of the main output, without the batch axis.
        classes: how many, the background not counted; 0 where the file does not tell (``boxes``).
        labels: their names.
    """

    format: DecoderFormat
    box: BoxFormat
    normalized: bool
    boxes: int
    scores: int | None
    selected: int | None
    count: int | None
    heads: tuple[int, ...]
    activation: Activation
    background: int | None
    anchors: tuple[tuple[float, ...], ...]
    variances: tuple[float, ...]
    grid_anchors: tuple[tuple[tuple[float, ...], ...], ...]
    score_threshold: float
    iou_threshold: float
    max_detections: int
    rows: int
    columns: int
    classes: int
    labels: tuple[str, ...]
    candidates: int = 10_000
    kind: Literal["detection"] = "detection"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """A class for each pixel. Result: (height, width) class numbers.

    Attributes:
        output: which of the outputs.
        form: ``planes``: scores per class, the first highest wins; ``map``: class numbers, rounded;
            ``mask``: one value, class 1 where it is above ``threshold``.
        height, width: of the plane, which may be smaller than the input.
        classes: how many.
        class_stride, pixel_stride: the score of class c at pixel p is value
            ``c · class_stride + p · pixel_stride``.
        threshold: of a mask.
        labels: the names of the classes.
    """

    output: int
    form: Literal["planes", "map", "mask"]
    height: int
    width: int
    classes: int
    class_stride: int
    pixel_stride: int
    threshold: float
    labels: tuple[str, ...]
    kind: Literal["segmentation"] = "segmentation"


@dataclass(frozen=True, kw_only=True)
class SymbolSequence:
    """A text. Result: the numbers of its symbols, as `edgekit.validation.metrics` reads them.

    Attributes:
        output: which of the outputs.
        format: ``ctc``: the best symbol of each step, repeated ones once, without ``special``;
            ``argmax``: the best symbol of each step up to ``special``.
        form: ``scores`` for each step and symbol, the first highest wins; or the ``numbers`` of the
            best symbols, rounded.
        steps, symbols: how many.
        step_stride, symbol_stride: the score of symbol s at step t is value
            ``t · step_stride + s · symbol_stride``.
        special: the blank, or the end.
        labels: the texts of the symbols; empty where nobody told.
    """

    output: int
    format: SequenceFormat
    form: Literal["scores", "numbers"]
    steps: int
    symbols: int
    step_stride: int
    symbol_stride: int
    special: int
    labels: tuple[str, ...]
    kind: Literal["sequence"] = "sequence"


@dataclass(frozen=True, kw_only=True)
class Values:
    """Plain numbers (regression, embedding, depth …). Result: the first output, flat."""

    output: int
    labels: tuple[str, ...] = ()
    kind: Literal["values"] = "values"


Decode: TypeAlias = Classification | Detection | Segmentation | SymbolSequence | Values


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """All that a template knows of a file.

    Attributes:
        names: what the module is called.
        model_file: the name that the `.tflite` has in the module.
        sha256: its digest.
        size_bytes: its size.
        input: the picture.
        tensors: the file's outputs, in the file's order.
        outputs: the model's outputs, which are made of them.
        decode: what the outputs mean.
        operators: (operator, version, count), as ``edgekit inspect`` shows them.
        custom_operators: operators that the app must bring.
        delegate, threads: what the wrapper uses unless the app says something else.
        notes: what the user should know: names that were made safe, things that were assumed.
    """

    names: Names
    model_file: str
    sha256: str
    size_bytes: int
    input: PictureInput
    tensors: tuple[FileTensor, ...]
    outputs: tuple[Output, ...]
    decode: Decode
    operators: tuple[tuple[str, int, int], ...]
    custom_operators: tuple[str, ...]
    delegate: Delegate
    threads: int
    notes: tuple[str, ...]
