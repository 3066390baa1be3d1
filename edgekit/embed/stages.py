"""The stages of a picture on its way to a result, computed by edgekit's reference.

These are what golden vectors hold. The resize is OpenCV's or Pillow's own here, not
`edgekit.embed.resize`, and boxes come from `edgekit.validation`: the generated code is held against
something else than the text that it was written from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from edgekit.contract import Color, Contract, Decoder, InputContract, SequenceDecoder
from edgekit.embed.spec import (
    Classification,
    Detection,
    Embedding,
    Output,
    PictureInput,
    PortQuantization,
    Segmentation,
    SymbolSequence,
)
from edgekit.geometry import geometry
from edgekit.preprocess import preprocess_image
from edgekit.types import TensorSpec
from edgekit.validation.metrics.decode import decode as decode_boxes
from edgekit.validation.metrics.sequence import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Stages:
    """One sample at every stage.

    Attributes:
        name: the sample's.
        picture: uint8 RGB (h, w, 3).
        resized: uint8 RGB (H, W, 3) after resize, and crop or padding.
        tensor: the input as stored.
        outputs: as stored, in the file's order.
        result: as the class in `edgekit.embed.spec` says; float32, int32 for a plane of classes.
        located: detections with their boxes in pixels of the picture; ``None`` for other tasks.
    """

    name: str
    picture: Array
    resized: Array
    tensor: Array
    outputs: tuple[Array, ...]
    result: Array
    located: Array | None = None


def resized(picture: Array, given: PictureInput, entry: InputContract) -> Array:
    """Resize, and crop or padding, alone.

    Raises:
        DataError: the picture cannot become what the model takes.
    """
    assert entry.preprocess is not None
    # Where the model takes BGR, a padding is stated in that order, so the result is turned.
    color: Color = "BGR" if entry.preprocess.color == "BGR" else "RGB"
    plain = replace(entry.preprocess, color=color, scale=1.0, mean=(0.0,), std=(1.0,))
    shape = (1, given.height, given.width, 3)
    tensor = TensorSpec(name=given.tensor.name, shape=shape, dtype="uint8", layout="NHWC")
    pixels: Array = preprocess_image(
        picture[..., ::-1], InputContract(tensor=tensor, preprocess=plain)
    )[0]
    return pixels[..., ::-1] if color == "BGR" else pixels


def tensor_of(pixels: Array, given: PictureInput, entry: InputContract) -> Array:
    """Colour, normalisation and quantization of pixels (H, W, 3) that have their size already."""
    assert entry.preprocess is not None
    plain = replace(entry.preprocess, resize=None, crop=None, letterbox=False)
    tensor = replace(entry.tensor, shape=given.tensor.shape)
    tensor = replace(tensor, layout="NCHW" if given.channels_first else "NHWC")
    real = preprocess_image(pixels[..., ::-1], InputContract(tensor=tensor, preprocess=plain))
    return quantize(real, given.tensor.quantization, given.tensor.dtype)


def quantize(values: Array, quantization: PortQuantization | None, dtype: str) -> Array:
    """``round(r / scale) + zero_point`` in float32, a half to the even number, saturated."""
    import numpy as np

    if quantization is None:
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    stored = np.rint(values / np.float32(quantization.scale)) + quantization.zero_point
    return stored.clip(limits.min, limits.max).astype(dtype)


def dequantize(stored: Array, quantization: PortQuantization | None) -> Array:
    """``scale · (stored − zero_point)`` in float32."""
    import numpy as np

    values = stored.astype(np.float32)
    if quantization is None:
        return values
    return (values - np.float32(quantization.zero_point)) * np.float32(quantization.scale)


def real_outputs(spec: Embedding, stored: Sequence[Array]) -> list[Array]:
    """The model's outputs in real numbers, parts put together, with the batch axis."""
    reals = [
        dequantize(value, tensor.quantization)
        for value, tensor in zip(stored, spec.tensors, strict=True)
    ]
    return [_whole(output, reals) for output in spec.outputs]


def _whole(output: Output, reals: Sequence[Array]) -> Array:
    import numpy as np

    parts = [reals[part.tensor] for part in output.parts]
    joined = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=output.axis)
    return joined.reshape(output.shape)


def result_of(spec: Embedding, contract: Contract, stored: Sequence[Array]) -> Array:
    """The decoded result of one sample; `edgekit.embed.spec` says what its rows are."""
    import numpy as np

    outputs = real_outputs(spec, stored)
    match spec.decode:
        case Classification() as task:
            return _best(outputs[task.output].ravel().astype(np.float64), task)
        case Detection() as task:
            return _boxes(spec, contract, outputs, task)
        case Segmentation() as task:
            return _plane(outputs[task.output].ravel(), task)
        case SymbolSequence() as task:
            return _symbols(outputs[task.output], task)
        case task:
            return outputs[task.output].ravel()


def probabilities(scores: Array, task: Classification) -> Array:
    """Scores after the activation, in double precision."""
    import numpy as np

    match task.activation:
        case "none":
            return scores
        case "sigmoid":
            return np.asarray(1 / (1 + np.exp(-scores)))
        case "softmax":
            powers = np.exp(scores - scores.max())
            return np.asarray(powers / powers.sum())
        case unknown:
            assert_never(unknown)


def _best(scores: Array, task: Classification) -> Array:
    import numpy as np

    values = probabilities(scores, task)
    order = np.argsort(-values, kind="stable")[: task.top_k]
    return np.stack([order, values[order]], axis=1).astype(np.float32)


def _boxes(spec: Embedding, contract: Contract, outputs: Sequence[Array], task: Detection) -> Array:
    import numpy as np

    decoder = next(entry.decoder for entry in contract.outputs if entry.decoder)
    assert isinstance(decoder, Decoder)
    names = [output.name for output in spec.outputs]
    found = decode_boxes(
        {name: value[0] for name, value in zip(names, outputs, strict=True)},
        names[task.boxes],
        decoder,
        (spec.input.height, spec.input.width),
        anchors=np.array(task.anchors) if task.anchors else None,
    )
    rows = np.concatenate([found.boxes, found.scores[:, None], found.classes[:, None]], axis=1)
    return rows.astype(np.float32)


def located(
    result: Array, picture: tuple[int, int], given: PictureInput, entry: InputContract
) -> Array:
    """Rows of boxes in pixels of the picture, cut at its borders."""
    import numpy as np

    assert entry.preprocess is not None
    height, width = picture
    place = geometry(picture, entry.preprocess, (given.height, given.width))
    moved = result.astype(np.float64)
    ends = np.array([width, height, width, height])
    sizes = np.array([place.width, place.height, place.width, place.height])
    starts = np.array([place.left, place.top, place.left, place.top])
    moved[:, :4] = (moved[:, :4] + starts) * (ends / sizes)
    moved[:, :4] = moved[:, :4].clip(0, ends)
    return moved.astype(np.float32)


def _symbols(output: Array, task: SymbolSequence) -> Array:
    import numpy as np

    how = {"ctc": "blank", "argmax": "end"}[task.format]
    decoder = SequenceDecoder(format=task.format, **{how: task.special})
    form = (task.steps, task.symbols) if task.symbol_stride == 1 else (task.symbols, task.steps)
    values = output.reshape(1, *(form if task.form == "scores" else (task.steps,)))
    if task.symbol_stride != 1 and task.form == "scores":
        values = values.transpose(0, 2, 1)
    return np.array(read(values, decoder)[0], np.int32)


def _plane(values: Array, task: Segmentation) -> Array:
    import numpy as np

    pixels = task.height * task.width
    match task.form:
        case "planes":
            stride = (task.classes, pixels) if task.pixel_stride == 1 else (pixels, task.classes)
            planes = values.reshape(stride)
            found = planes.argmax(0 if task.pixel_stride == 1 else 1)
        case "map":
            found = np.rint(values)
        case "mask":
            found = values > task.threshold
        case unknown:
            assert_never(unknown)
    return np.asarray(found, np.int32).reshape(task.height, task.width)
