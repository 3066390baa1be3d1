"""From a picture to the tensor that the model expects, as its contract says.

The one place where this arithmetic is written in Python: calibration, the reference, validation
and the golden vectors of the generated app code all come through here. The order is fixed: resize
→ centre crop, or a letterbox's padding → colour → ``* scale`` → ``- mean`` → ``/ std`` → layout.
Resizing works on 8-bit values, as it does in an app.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit import files
from edgekit.contract import MOST_ELEMENTS, InputContract, Interpolation, Preprocess, image_axes
from edgekit.errors import DataError, UsageError
from edgekit.geometry import Geometry, geometry

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_PNG = b"\x89PNG\r\n\x1a\n"
# (channels in the picture, colour of the model, channels of the model) -> name in cv2;
# the empty name is "as it is".
_CONVERSIONS = {
    (1, "GRAY", 1): "",
    (1, "RGB", 3): "COLOR_GRAY2RGB",
    (1, "BGR", 3): "COLOR_GRAY2BGR",
    (3, "GRAY", 1): "COLOR_BGR2GRAY",
    (3, "RGB", 3): "COLOR_BGR2RGB",
    (3, "BGR", 3): "",
    (4, "GRAY", 1): "COLOR_BGRA2GRAY",
    (4, "RGB", 3): "COLOR_BGRA2RGB",
    (4, "BGR", 3): "COLOR_BGRA2BGR",
    (4, "RGB", 4): "COLOR_BGRA2RGBA",
    (4, "BGR", 4): "",
}


def read_image(path: Path) -> Array:
    """Read a picture file as uint8 BGR, shape (height, width, 3).

    The EXIF orientation is applied, transparency is dropped, 16 bits become 8.

    Raises:
        DataError: the file cannot be read, or is not a picture that OpenCV knows.
    """
    import cv2

    pixels = decode_image(read_bytes(path), str(path))
    if pixels.shape[2] == 1:
        return _array(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    return pixels


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: the file cannot be read.
    """
    return files.read_bytes(path, DataError)


def decode_image(data: bytes, name: str) -> Array:
    """Decode the bytes of a picture file to uint8 BGR (height, width, 3), or gray (…, 1).

    A gray file stays gray, so that the caller can tell.

    Raises:
        DataError: the bytes are no picture that OpenCV knows, or a damaged one.
    """
    import cv2
    import numpy as np

    # From bytes and not from the path: OpenCV cannot open every path on every system.
    pixels = None
    if _is_whole(data):
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR)
        except (cv2.error, MemoryError):  # an empty file, or one that claims an absurd size
            pixels = None
    if pixels is None:
        raise DataError(
            f"{name} is not a picture, or a damaged one.",
            cure="Remove it, or save it again as JPEG or PNG.",
        )
    return _array(pixels if pixels.ndim == 3 else pixels[:, :, np.newaxis])


def _is_whole(data: bytes) -> bool:
    """Whether a PNG's chunks lie within it; of other files nothing is said.

    OpenCV makes room for what a chunk claims, gigabytes and for many seconds, before it reads it.
    """
    place = 8
    while data[:8] == _PNG and place + 8 <= len(data):
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        if place > len(data):
            return False
    return True


def preprocess_image(image: Array, contract: InputContract) -> Array:
    """The tensor for one picture.

    Args:
        image: uint8, gray (height, width) or (height, width, 1), BGR (…, 3) or BGRA (…, 4).
        contract: an input with ``preprocess``.

    Returns:
        The input's full shape (its batch is 1), dtype and layout. Integer types are rounded to
        the nearest value and end at the limits of the type.

    Raises:
        DataError: the picture's size or channels cannot become what the model expects.
        UsageError: the contract itself makes no sense for a picture.
    """
    import numpy as np

    tensor, preprocess = contract.tensor, contract.preprocess
    axes = image_axes(tensor)
    if preprocess is None or axes is None:
        raise UsageError(
            f"Input {tensor.name} has no preprocessing: it is not known how a picture becomes it.",
            cure="Give model-ready arrays (.npz), or state shape and layout with --input.",
        )
    if tensor.shape[0] != 1:
        raise DataError(
            f"Input {tensor.name} takes {tensor.shape[0]} pictures at once.",
            cure="Export the model with a batch of 1, or give model-ready arrays (.npz).",
        )
    image = image if image.ndim == 3 else image[:, :, np.newaxis]
    height, width, channels = (tensor.shape[axis] for axis in axes)
    assert height is not None
    assert width is not None
    place = geometry((image.shape[0], image.shape[1]), preprocess, (height, width))
    pixels = _resize(image, preprocess, place)
    if preprocess.letterbox:
        pixels = _pad(pixels, preprocess, place, (height, width))
    else:
        pixels = _crop(pixels, preprocess, place)
    if pixels.shape[:2] != (height, width):
        raise DataError(
            f"The picture is {pixels.shape[0]}x{pixels.shape[1]} after preprocessing, "
            f"input {tensor.name} wants {height}x{width}.",
            cure=f"State the size, for example --resize {height},{width}",
        )
    pixels = _color(pixels, preprocess, channels)
    values = _normalise(pixels, preprocess, np.dtype(tensor.dtype))
    if axes[2] == 1:
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[np.newaxis])


def _resize(image: Array, preprocess: Preprocess, place: Geometry) -> Array:
    size = (place.height, place.width)
    if size == image.shape[:2]:
        return image
    if size[0] * size[1] * image.shape[2] > MOST_ELEMENTS or 0 in size:
        raise DataError(
            f"The picture of {image.shape[0]}x{image.shape[1]} would become {size[0]}x{size[1]}.",
            cure="Crop it, or state both sides: --resize HEIGHTxWIDTH",
        )
    resize = _pillow if preprocess.antialias else _opencv
    return resize(image, size, preprocess.interpolation)


def _opencv(image: Array, size: tuple[int, int], interpolation: Interpolation) -> Array:
    """Few neighbours, whatever the factor."""
    import cv2

    flag = {
        "bilinear": cv2.INTER_LINEAR,
        "bicubic": cv2.INTER_CUBIC,
        "area": cv2.INTER_AREA,
        "nearest": cv2.INTER_NEAREST,
    }[interpolation]
    resized = cv2.resize(image, size[::-1], interpolation=flag)
    return _array(resized.reshape(*size, image.shape[2]))  # cv2 drops a single channel


def _pillow(image: Array, size: tuple[int, int], interpolation: Interpolation) -> Array:
    """A filter that grows with the factor: along the width, rounded to 8 bits, then the height.

    In two calls, since Pillow 13 goes along the height first where that is faster, which is not
    what models were trained with so far (bicubic pixels then differ by up to 20 grey levels).
    """
    import numpy as np
    from PIL import Image

    pixels = np.ascontiguousarray(image[:, :, 0] if image.shape[2] == 1 else image)
    # A fourth channel is one like the others: of an RGBA the colours would be weighted by it.
    mode = {1: "L", 3: "RGB", 4: "RGBX"}[image.shape[2]]
    picture = Image.frombuffer(mode, image.shape[1::-1], pixels, "raw", mode, 0, 1)
    way = Image.Resampling[interpolation.upper()]
    narrow = picture.resize((size[1], picture.height), way)
    return np.asarray(narrow.resize(size[::-1], way)).reshape(*size, image.shape[2])


def _crop(image: Array, preprocess: Preprocess, place: Geometry) -> Array:
    if preprocess.crop is None:
        return image
    height, width = preprocess.crop
    if image.shape[0] < height or image.shape[1] < width:
        raise DataError(
            f"The picture is {image.shape[0]}x{image.shape[1]}, too small for a crop of "
            f"{height}x{width}.",
            cure=f"Resize it first, for example --resize {max(height, width)}",
        )
    return image[place.top : place.top + height, place.left : place.left + width]


def _pad(image: Array, preprocess: Preprocess, place: Geometry, size: tuple[int, int]) -> Array:
    """The picture within ``size``, and the padding around it."""
    import numpy as np

    tall, wide = image.shape[:2]
    if tall > size[0] or wide > size[1]:
        return image  # told by the caller, as every size that does not fit
    padded = np.empty((*size, image.shape[2]), np.uint8)
    padded[:] = _padding(preprocess, image.shape[2])
    padded[-place.top : tall - place.top, -place.left : wide - place.left] = image
    return padded


def _padding(preprocess: Preprocess, channels: int) -> tuple[int, ...]:
    """The value of the padding in the channels of a picture: gray, BGR or BGRA."""
    values = preprocess.pad_value
    if len(values) == 1:
        return values
    if len(values) != channels:
        raise UsageError(
            f"pad_value has {len(values)} values, the picture {channels} channels.",
            cure=f"Give one value, or {channels}.",
        )
    turned = values[2::-1] if preprocess.color == "RGB" else values[:3]
    return turned + values[3:]


def _color(image: Array, preprocess: Preprocess, channels: int | None) -> Array:
    import cv2

    given = image.shape[2]
    name = _CONVERSIONS.get((given, preprocess.color, channels or 0))
    if name is None:
        raise DataError(
            f"A picture with {given} channels cannot become {channels} channels of "
            f"{preprocess.color}.",
            cure="Correct the colour (--color RGB, BGR or GRAY), or give model-ready arrays.",
        )
    if not name:
        return image
    converted = cv2.cvtColor(image, getattr(cv2, name))
    return _array(converted.reshape(*image.shape[:2], channels or 0))


def _normalise(pixels: Array, preprocess: Preprocess, dtype: Any) -> Array:
    import cv2
    import numpy as np

    channels = pixels.shape[2]
    for name, per_channel in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(per_channel) not in (1, channels):
            raise UsageError(
                f"{name} has {len(per_channel)} values, the picture {channels} channels.",
                cure=f"Give one value, or {channels}.",
            )
    # What each of the 256 grey levels becomes, looked up: six times as fast as computing it for
    # every pixel, and the same to the last bit.
    levels = np.arange(256, dtype=np.float32)[:, np.newaxis].repeat(channels, axis=1)
    levels *= np.float32(preprocess.scale)
    levels -= np.asarray(preprocess.mean, np.float32)
    levels /= np.asarray(preprocess.std, np.float32)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        levels = np.rint(levels).clip(limits.min, limits.max)
    values = cv2.LUT(pixels, levels[np.newaxis])
    return _array(values.reshape(pixels.shape)).astype(dtype, copy=False)


def _array(value: Any) -> Array:
    """What cv2 gives is untyped; this is where it gets its type."""
    result: Array = value
    return result
