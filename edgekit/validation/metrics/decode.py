"""From a detector's outputs to boxes, as the contract's `Decoder` says, and from labels to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.contract import Decoder, Preprocess
from edgekit.errors import DataError
from edgekit.geometry import geometry
from edgekit.validation.metrics.boxes import Boxes, Detections, suppress, to_corners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[Any]

_MOST_CANDIDATES = 10_000


def decode(
    outputs: Mapping[str, Array],
    main: str,
    decoder: Decoder,
    size: tuple[int, int],
    *,
    anchors: Array | None = None,
) -> Detections:
    """The boxes of one picture, in pixels of the model's input, best first.

    Args:
        outputs: the outputs for one picture by name, without batch axis, in the model's order.
        main: the output that the decoder was stated for.
        decoder: how to read them.
        size: height and width of the model's input.
        anchors: (N, 4) centre x, centre y, width, height, for ``ssd`` with anchors.

    Raises:
        DataError: the outputs do not have the shapes of the format.
    """
    import numpy as np

    output = np.asarray(outputs[main], np.float64)
    match decoder.format:
        case "yolov8":
            boxes, scores = _yolov8(output, decoder)
        case "yolov5":
            boxes, scores = _yolov5(output, decoder)
        case "yolo-grid":
            boxes, scores = _grids(list(outputs.values()), decoder, size)
        case "ssd":
            boxes, scores = _ssd(output, _named(outputs, decoder.scores), decoder, anchors)
        case "boxes":
            scores = _named(outputs, decoder.scores).ravel()
            classes = _named(outputs, decoder.classes).ravel()
            if output.ndim != 2 or output.shape != (len(scores), 4) or len(classes) != len(scores):
                raise _shape("boxes", "boxes (1, N, 4), scores (1, N) and classes (1, N)", output)
            last = None if decoder.count is None else _named(outputs, decoder.count).ravel()[0]
            corners = to_corners(output, decoder.box or "yxyx")
            return _selected(corners, scores, classes, last, decoder, size)
        case "table":
            if output.ndim != 2 or output.shape[1] != 6:
                raise _shape("table", "(1, N, 6): a box, its score and its class", output)
            corners = to_corners(output[:, :4], decoder.box or "xyxy")
            return _selected(corners, output[:, 4], output[:, 5], None, decoder, size)
    if decoder.normalized:
        boxes = boxes * _ends(size)
    return _select(boxes, scores, decoder)


def boxes_to_input(
    labels: Boxes, picture: tuple[int, int], preprocess: Preprocess, size: tuple[int, int]
) -> Boxes:
    """Labelled boxes in pixels of the model's input instead of the picture's.

    They are scaled, cropped and moved as the picture is; what a crop leaves out is gone. Overlaps
    of boxes are the same in both, so that a letterbox changes no average precision.

    Args:
        labels: boxes in pixels of the picture.
        picture: the picture's height and width.
        preprocess: what is done with the picture.
        size: height and width of the model's input.
    """
    import numpy as np

    place = geometry(picture, preprocess, size)
    moved = labels.boxes * (_ends((place.height, place.width)) / _ends(picture))
    moved = moved - np.array([place.left, place.top, place.left, place.top])
    moved = moved.clip(0, _ends(size))
    there = (moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])
    return Boxes(boxes=moved[there], classes=labels.classes[there], crowd=labels.crowd[there])


def _yolov8(output: Array, decoder: Decoder) -> tuple[Array, Array]:
    """(4 + C, N): centre and size, then a score per class."""
    if output.ndim != 2 or output.shape[0] < 5:
        raise _shape("yolov8", "(1, 4 + C, N)", output)
    return to_corners(output[:4].T, decoder.box or "cxcywh"), _activate(output[4:].T, decoder)


def _yolov5(output: Array, decoder: Decoder) -> tuple[Array, Array]:
    """(N, 5 + C): centre and size, whether there is an object, then a score per class."""
    if output.ndim != 2 or output.shape[1] < 6:
        raise _shape("yolov5", "(1, N, 5 + C)", output)
    scores = _activate(output[:, 4:], decoder)
    return to_corners(output[:, :4], decoder.box or "cxcywh"), scores[:, 1:] * scores[:, :1]


def _grids(outputs: list[Array], decoder: Decoder, size: tuple[int, int]) -> tuple[Array, Array]:
    """Raw heads (H, W, A·(5 + C)) or (A, H, W, 5 + C), before any activation.

    x = (2σ(tx) − 0.5 + column)·stride and w = (2σ(tw))²·anchor, as YOLOv5 and YOLOv7 compute them.
    """
    import numpy as np

    if len(outputs) != len(decoder.grid_anchors):
        raise DataError(
            f"There are {len(outputs)} outputs, but grid_anchors for {len(decoder.grid_anchors)}.",
            cure="Give grid_anchors a list for each output, in the outputs' order.",
        )
    boxes, scores = [], []
    for output, anchors in zip(outputs, decoder.grid_anchors, strict=True):
        cells = _cells(np.asarray(output, np.float64), len(anchors))
        rows, columns = cells.shape[:2]
        values = 1 / (1 + np.exp(-cells))
        y, x = np.mgrid[:rows, :columns]
        corner = np.stack([x, y], axis=-1)[:, :, None]
        stride = np.array([size[1] / columns, size[0] / rows])
        centre = (2 * values[..., :2] - 0.5 + corner) * stride
        extent = (2 * values[..., 2:4]) ** 2 * np.array(anchors)
        boxes.append(np.concatenate([centre, extent], axis=-1).reshape(-1, 4))
        scores.append((values[..., 5:] * values[..., 4:5]).reshape(len(boxes[-1]), -1))
    return to_corners(np.concatenate(boxes), "cxcywh"), np.concatenate(scores)


def _cells(output: Array, anchors: int) -> Array:
    """A raw head as (H, W, A, 5 + C)."""
    if output.ndim == 4 and output.shape[0] == anchors and output.shape[3] > 5:
        return output.transpose(1, 2, 0, 3)
    if output.ndim == 3 and output.shape[2] % anchors == 0 and output.shape[2] // anchors > 5:
        return output.reshape(*output.shape[:2], anchors, -1)
    raise _shape(
        "yolo-grid", f"(1, H, W, {anchors}·(5 + C)) or (1, {anchors}, H, W, 5 + C)", output
    )


def _ssd(
    output: Array, scores: Array, decoder: Decoder, anchors: Array | None
) -> tuple[Array, Array]:
    """Boxes (N, 4), or offsets to anchors as of W. Liu et al., "SSD", 2016; scores (N, C)."""
    import numpy as np

    if output.ndim != 2 or output.shape[1] != 4 or scores.shape[:1] != output.shape[:1]:
        raise _shape("ssd", "boxes (1, N, 4) and scores (1, N, C)", output)
    activated = _activate(scores.reshape(len(output), -1), decoder)
    if decoder.background is not None:
        activated = np.delete(activated, decoder.background, axis=1)
    if anchors is None:
        return to_corners(output, decoder.box or "yxyx"), activated
    if anchors.shape != output.shape:
        raise DataError(
            f"There are {len(output)} boxes, but anchors of the shape {anchors.shape}.",
            cure="The anchors are an array (N, 4): centre x, centre y, width, height.",
        )
    # Offsets are read as a box is: what is at the place of the centre is the centre's offset.
    order = {"yxyx": [1, 0, 3, 2]}.get(decoder.box or "yxyx", [0, 1, 2, 3])
    offsets = output[:, order] * np.array(decoder.variances)
    centre = anchors[:, :2] + offsets[:, :2] * anchors[:, 2:]
    extent = anchors[:, 2:] * np.exp(offsets[:, 2:])
    return to_corners(np.concatenate([centre, extent], axis=1), "cxcywh"), activated


def _selected(
    corners: Array,
    scores: Array,
    named: Array,
    last: float | None,
    decoder: Decoder,
    size: tuple[int, int],
) -> Detections:
    """Boxes (n, 4), scores (n,) and classes (n,) that the model has selected by itself."""
    import numpy as np

    named = np.rint(named)
    classes = np.where(np.isfinite(named), named, -1).astype(int)
    count = len(scores) if last is None else last
    used = (np.arange(len(scores)) < np.rint(count)) & np.isfinite(named)
    used &= scores >= decoder.score_threshold
    if decoder.background is not None:
        used &= classes != decoder.background
        classes = classes - (classes > decoder.background)
    if decoder.normalized:
        corners = corners * _ends(size)
    used &= np.isfinite(corners).all(axis=1)
    order = np.flatnonzero(used)[np.argsort(-scores[used], kind="stable")]
    order = order[: decoder.max_detections]
    return Detections(boxes=corners[order], scores=scores[order], classes=classes[order])


def _select(boxes: Array, scores: Array, decoder: Decoder) -> Detections:
    """Each (box, class) above the threshold is a candidate; then suppression by class."""
    import numpy as np

    place, classes = np.nonzero(scores >= decoder.score_threshold)
    values = scores[place, classes]
    usable = np.isfinite(boxes[place]).all(axis=1) & np.isfinite(values)
    order = np.flatnonzero(usable)[np.argsort(-values[usable], kind="stable")[:_MOST_CANDIDATES]]
    place, classes, values = place[order], classes[order], values[order]
    kept = suppress(
        boxes[place], values, classes, iou=decoder.iou_threshold, at_most=decoder.max_detections
    )
    return Detections(boxes=boxes[place][kept], scores=values[kept], classes=classes[kept])


def _activate(scores: Array, decoder: Decoder) -> Array:
    import numpy as np

    match decoder.activation:
        case "none":
            return scores
        case "sigmoid":
            return np.asarray(1 / (1 + np.exp(-scores)))
        case "softmax":
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _named(outputs: Mapping[str, Array], name: str | None) -> Array:
    import numpy as np

    if name is None or name not in outputs:
        raise DataError(
            f"The decoder names the output {name!r}, which the model does not have.",
            cure=f"Its outputs are: {', '.join(outputs)}",
        )
    return np.asarray(outputs[name], np.float64)


def _ends(size: tuple[int, int]) -> Array:
    import numpy as np

    height, width = size
    return np.array([width, height, width, height], np.float64)


def _shape(name: str, wanted: str, output: Array) -> DataError:
    return DataError(
        f"The decoder {name} wants {wanted}; for one picture the output has {output.shape}.",
        cure="State another format in decoder = { … } of the output in edgekit.toml.",
    )
