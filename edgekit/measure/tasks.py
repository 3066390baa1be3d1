"""From a contract to the metric of its task, and what a model says about a sample in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.closeness import is_vector_of_scores
from edgekit.contract import (
    Contract,
    Decoder,
    OutputContract,
    SequenceDecoder,
    Task,
    image_axes,
)
from edgekit.errors import DataError, UsageError
from edgekit.measure.heads import recognise_head
from edgekit.measure.sequences import sequence_place, symbols_of
from edgekit.types import TensorSpec
from edgekit.validation.metrics import (
    ClassificationMetric,
    DecisionMetric,
    DepthMetric,
    DetectionMetric,
    EmbeddingMetric,
    ImageQuality,
    KeypointMetric,
    Metric,
    Regression,
    SegmentationMetric,
    SequenceMetric,
    load_metric,
)
from edgekit.validation.metrics.boxes import Boxes, Detections
from edgekit.validation.metrics.decode import decode
from edgekit.validation.metrics.detection import CONFIDENT
from edgekit.validation.metrics.segmentation import PlaneLayout
from edgekit.validation.metrics.sequence import read
from edgekit.validation_result import AnswerBox, AnswerMask, SampleAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_SHOWN = 3
_DRAWN_BOXES = 40
_DRAWN_CELLS = 64
"""Boxes of a picture, and cells of a mask along a side, that are drawn."""
_MASK_NAMES = 6
_FEWEST_SCORES = 2
_MOST_OF_ONE, _NEGATIVE = 1.5, 0.1
"""Pictures overshoot 0…1 by at most so much."""


def make_metric(
    contract: Contract, *, samples: int, span: float = 1.0, own: str | None = None
) -> Metric | None:
    """The metric of the task; of a first output of scores that of classification, else ``None``.

    Args:
        contract: on the reference's tensors.
        samples: how many there are in the data.
        span: how far the values of a picture output reach, for image-to-image; `picture_range`.
        own: a metric of the user's: ``package.module:function``.

    Raises:
        UsageError: the contract lacks what the task needs, or the user's metric is not there.
    """
    if own is not None:
        return load_metric(own)
    if contract.task is None:
        return ClassificationMetric() if _are_scores(contract) else None
    makers: dict[Task, Callable[[], Metric]] = {
        "classification": DecisionMetric if _is_decided(contract) else ClassificationMetric,
        "regression": Regression,
        "embedding": lambda: EmbeddingMetric(samples=samples),
        "image-to-image": lambda: ImageQuality(
            data_range=span, layout=_picture_layout(contract.outputs[0])
        ),
        "segmentation": lambda: _segmentation(contract),
        "detection": lambda: _detection(contract),
        "sequence": lambda: _sequence(contract),
        "keypoints": lambda: _keypoints(contract),
        "depth": DepthMetric,
    }
    return makers[contract.task]()


def picture_range(pictures: Array) -> float:
    """The largest value minus the smallest that such pictures can have: of 0…1, −1…1 or 0…255."""
    largest = float(abs(pictures).max(initial=0.0))
    if largest > _MOST_OF_ONE:
        return 255.0
    return 2.0 if float(pictures.min(initial=0.0)) < -_NEGATIVE else 1.0


def input_size(tensor: TensorSpec) -> tuple[int, int] | None:
    """Height and width of a picture input."""
    axes = image_axes(tensor)
    if axes is None:
        return None
    return tensor.shape[axes[0]] or 0, tensor.shape[axes[1]] or 0


def _are_scores(contract: Contract) -> bool:
    """Whether the first output looks like scores of classes, though nobody says so."""
    if not contract.outputs or not contract.outputs[0].tensor.dtype.startswith("float"):
        return False  # whole numbers are decisions, not what they were made by
    shape = [size or 1 for size in contract.outputs[0].tensor.shape]
    return max(shape, default=1) > _FEWEST_SCORES and is_vector_of_scores(shape)


def _is_decided(contract: Contract) -> bool:
    """Whether the first output is one whole number, not what it was chosen by."""
    tensor = contract.outputs[0].tensor
    one = all(size in (1, None) for size in tensor.shape)
    return one and tensor.dtype.startswith(("int", "uint"))


def class_count(contract: Contract) -> int | None:
    """How many classes the model tells apart, where its outputs or class names tell."""
    if not contract.outputs:
        return None
    first = contract.outputs[0]
    match contract.task:
        case "classification" if not _is_decided(contract):
            sizes = [size for size in first.tensor.shape if size is not None]
            return max(sizes, default=0) or None
        case "segmentation":
            return _planes(first)[1] or None
        case "detection":
            main = _main(contract)
            return len(main.labels) or None
        case "sequence" | "depth":
            return None
        case _:
            return len(first.labels) or None


def class_names(contract: Contract) -> tuple[str, ...]:
    """The names of the model's classes, where they are known."""
    return _main(contract).labels if contract.outputs else ()


def say(contract: Contract, outputs: Sequence[Array]) -> str:
    """What a model says about one sample, short enough for a table.

    Args:
        contract: on the reference's tensors.
        outputs: for one sample, without the batch axis, in the contract's order.
    """
    import numpy as np

    labels = class_names(contract)
    first = np.asarray(outputs[0], np.float64)
    match contract.task:
        case "classification" if _is_decided(contract):
            return _name(round(float(first.ravel()[0])), labels)
        case "classification":
            return _scores(first.ravel(), labels)
        case "detection":
            return _boxes(contract, outputs, labels)
        case "segmentation":
            return _areas(*_plane(contract, first), labels)
        case "sequence" if contract.outputs[sequence_place(contract)].sequence:
            return _text(contract, outputs)
        case _:
            return _values(first.ravel())


def answer(contract: Contract, outputs: Sequence[Array]) -> SampleAnswer:
    """The same to draw: classes with shares, boxes, or a mask.

    Args:
        contract, outputs: as for `say`.
    """
    import numpy as np

    labels = class_names(contract)
    first = np.asarray(outputs[0], np.float64)
    match contract.task:
        case "classification" if not _is_decided(contract) and np.isfinite(first).all():
            return SampleAnswer(classes=tuple(_shares(first.ravel(), labels)))
        case "detection":
            found, size = _detections(contract, outputs), input_size(contract.inputs[0].tensor)
            return SampleAnswer(boxes=_placed(found, size, labels) if found and size else ())
        case "segmentation":
            return SampleAnswer(mask=_mask(*_plane(contract, first), labels))
        case _:
            return SampleAnswer()


def say_label(contract: Contract, label: Any) -> str:
    """The truth in words; empty where it is not known."""
    import numpy as np

    labels = class_names(contract)
    if label is None:
        return ""
    if isinstance(label, str):
        return label
    if isinstance(label, Boxes):
        return _counted([_name(int(one), labels) for one in label.classes])
    if isinstance(label, int | np.integer) and contract.task in (None, "classification"):
        return _name(int(label), labels)
    array = np.asarray(label)
    if contract.task == "segmentation":
        return _areas(array.astype(int), len(labels), labels)
    return _values(np.asarray(array, np.float64).ravel())


def _main(contract: Contract) -> OutputContract:
    """The output that the task was stated for, or that a decoder was."""
    decoded = [entry for entry in contract.outputs if entry.decoder]
    return decoded[0] if decoded else contract.outputs[0]


def _segmentation(contract: Contract) -> Metric:
    layout, classes = _planes(contract.outputs[0])
    return SegmentationMetric(classes=classes, layout=layout)


def _detection(contract: Contract) -> Metric:
    main = _main(contract)
    size = input_size(contract.inputs[0].tensor) if contract.inputs else None
    if main.decoder is None or size is None:
        raise UsageError(
            "A detector needs to say how its outputs become boxes.",
            cure=lines_to_paste(contract),
        )
    return DetectionMetric(
        names=tuple(entry.tensor.name for entry in contract.outputs),
        main=main.tensor.name,
        decoder=main.decoder,
        size=size,
        anchors=_anchors(main.decoder),
    )


def _sequence(contract: Contract) -> SequenceMetric:
    place = sequence_place(contract)
    decoder = contract.outputs[place].sequence
    if decoder is None:
        raise UsageError(
            "A sequence needs to say how its output is read.",
            cure='In edgekit.toml: [outputs.NAME] task = "sequence" and '
            'decoder = { format = "ctc", blank = "first" }.',
        )
    return SequenceMetric(decoder=decoder, symbols=symbols_of(contract), place=place)


def _keypoints(contract: Contract) -> KeypointMetric:
    first = contract.outputs[0]
    sizes = [size or 1 for size in first.tensor.shape[1:]]
    size = input_size(contract.inputs[0].tensor) if contract.inputs else None
    axis = None
    if len(sizes) == 3 and min(sizes) > 1:
        layout, _ = _planes(first)
        axis = 2 if layout == "NHWC" else 0
    return KeypointMetric(axis=axis, size=size, names=first.labels)


def lines_to_paste(contract: Contract) -> str:
    """What to write into edgekit.toml: for the head that the shapes show, else where to look."""
    size = input_size(contract.inputs[0].tensor) if contract.inputs else None
    head = recognise_head([entry.tensor for entry in contract.outputs], size)
    if head is None:
        return (
            'In edgekit.toml: [outputs.NAME] task = "detection" and '
            'decoder = { format = "yolov8" }; see "Detectors in edgekit.toml" in docs/reference.md.'
        )
    if not head.lines:
        return f"The outputs look like {head.name}. {head.advice}"
    lines = head.lines.replace("\n", "\n  ")
    paste = f"The outputs look like {head.name}; in edgekit.toml:\n  {lines}"
    return f"{paste}\n  {head.advice}" if head.advice else paste


def require_meaning(contract: Contract) -> None:
    """Ask for what only the user knows of a task, before anything has run.

    Raises:
        UsageError: how a detector's outputs become boxes is not stated; or an output has a shape in
            which nothing of its task can be.
    """
    import numpy as np

    if contract.task == "detection":
        _detection(contract)
    if contract.task not in ("keypoints", "sequence"):
        return
    place = sequence_place(contract) if contract.task == "sequence" else 0
    shape = contract.outputs[place].tensor.shape
    if None in shape:
        return
    sizes = [size or 1 for size in shape]
    nothing = np.zeros((1, *(sizes[1:] if sizes[0] == 1 else sizes)), np.float32)
    try:
        if contract.task == "keypoints":
            _keypoints(contract).points(nothing)
        else:
            read(nothing, SequenceDecoder(format="ctc", blank=0))
    except DataError as error:
        raise UsageError(error.cause, cure=error.cure) from error


def _anchors(decoder: Decoder) -> Array | None:
    import numpy as np

    if decoder.anchors is None:
        return None
    try:
        anchors: Array = np.load(Path(decoder.anchors), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The anchors {decoder.anchors} cannot be read: {error}",
            cure="Save an array (N, 4) with np.save.",
        ) from error
    return anchors


def _planes(output: OutputContract) -> tuple[PlaneLayout, int]:
    """Where the classes of a segmentation output are, and how many."""
    shape = [size or 1 for size in output.tensor.shape]
    count = len(output.labels)
    if len(shape) == 4:
        if output.tensor.layout == "NCHW" or (count and shape[1] == count != shape[3]):
            return "NCHW", shape[1]
        if output.tensor.layout == "NHWC" or (count and shape[3] == count):
            return "NHWC", shape[3]
        if shape[3] == 1:
            return "map", count
        # The sides of a plane are mostly equal; where they are not, classes are fewer than pixels.
        if shape[2] == shape[3] != shape[1]:
            return "NCHW", shape[1]
        if shape[1] == shape[2] != shape[3]:
            return "NHWC", shape[3]
        return ("NCHW", shape[1]) if shape[1] < shape[3] else ("NHWC", shape[3])
    return "map", count


def _picture_layout(output: OutputContract) -> Any:
    shape = output.tensor.shape
    nchw = len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
    return output.tensor.layout or ("NCHW" if nchw else "NHWC")


def _scores(scores: Array, labels: Sequence[str]) -> str:
    import numpy as np

    if not np.isfinite(scores).all():
        return "not a number"
    return ", ".join(f"{name} {share:.0%}" for name, share in _shares(scores, labels))


def _shares(scores: Array, labels: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The first classes with their probabilities."""
    import numpy as np

    probable = bool((scores >= 0).all()) and abs(float(scores.sum()) - 1) <= 1e-2
    if not probable:
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    best = np.argsort(-scores, kind="stable")[:_SHOWN]
    return ((_name(int(one), labels), float(scores[one])) for one in best)


def _boxes(contract: Contract, outputs: Sequence[Array], labels: Sequence[str]) -> str:
    found = _detections(contract, outputs)
    return "" if found is None else _counted([_name(int(one), labels) for one in found.classes])


def _detections(contract: Contract, outputs: Sequence[Array]) -> Detections | None:
    """The boxes that a detector is sure of; ``None`` where nobody can read its outputs."""
    main = _main(contract)
    size = input_size(contract.inputs[0].tensor)
    if main.decoder is None or size is None:
        return None
    named = {
        entry.tensor.name: output for entry, output in zip(contract.outputs, outputs, strict=True)
    }
    found = decode(named, main.tensor.name, main.decoder, size, anchors=_anchors(main.decoder))
    sure = found.scores >= CONFIDENT
    return Detections(
        boxes=found.boxes[sure], scores=found.scores[sure], classes=found.classes[sure]
    )


def _placed(
    found: Detections, size: tuple[int, int], labels: Sequence[str]
) -> tuple[AnswerBox, ...]:
    height, width = size
    return tuple(
        AnswerBox(
            name=_name(int(kind), labels),
            score=float(score),
            place=(left / width, top / height, right / width, bottom / height),
        )
        for (left, top, right, bottom), score, kind in zip(
            found.boxes[:_DRAWN_BOXES].tolist(),
            found.scores[:_DRAWN_BOXES].tolist(),
            found.classes[:_DRAWN_BOXES].tolist(),
            strict=True,
        )
    )


def _text(contract: Contract, outputs: Sequence[Array]) -> str:
    metric = _sequence(contract)
    stack = outputs[metric.place][None]
    (numbers,) = read(stack, metric.decoder, len(metric.symbols))
    names = metric.symbols
    return "".join(names[one] if names else f"<{one}>" for one in numbers) or "nothing"


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "no boxes"
    return ", ".join(f"{often} × {name}" for name, often in Counter(names).most_common(_SHOWN))


def _plane(contract: Contract, first: Array) -> tuple[Array, int]:
    """The class of each cell (H, W), and how many classes there are."""
    import numpy as np

    layout, classes = _planes(contract.outputs[0])
    axis = {"NHWC": -1, "NCHW": 0}.get(layout)
    plane = np.rint(first) if axis is None else first.argmax(axis)
    return plane.astype(int), classes


def _mask(plane: Array, _classes: int, labels: Sequence[str]) -> AnswerMask | None:
    """A mask with at most so many cells along a side as are drawn."""
    import numpy as np

    plane = plane.reshape([size for size in plane.shape if size > 1])
    if plane.ndim != 2:
        return None
    steps = [-(-size // _DRAWN_CELLS) for size in plane.shape]
    cells = plane[steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]]
    flat = cells.ravel()
    starts = np.flatnonzero(np.r_[True, flat[1:] != flat[:-1]])
    lengths = np.diff(np.r_[starts, flat.size])
    kinds, counts = np.unique(flat, return_counts=True)
    most = kinds[np.argsort(-counts, kind="stable")][:_MASK_NAMES]
    return AnswerMask(
        height=cells.shape[0],
        width=cells.shape[1],
        runs=" ".join(f"{flat[at]}*{length}" for at, length in zip(starts, lengths, strict=True)),
        names={int(one): _name(int(one), labels) for one in most},
    )


def _areas(plane: Array, classes: int, labels: Sequence[str]) -> str:
    import numpy as np

    inside = plane[(plane >= 0) & ((plane < classes) | (classes == 0))]
    if not inside.size:
        return ""
    counts = np.bincount(inside.ravel())
    best = [int(one) for one in np.argsort(-counts, kind="stable")[:_SHOWN] if counts[one]]
    return ", ".join(f"{_name(one, labels)} {counts[one] / inside.size:.0%}" for one in best)


def _values(values: Array) -> str:
    import numpy as np

    if values.size <= _SHOWN:
        return ", ".join(f"{value:.4g}" for value in values)
    if not np.isfinite(values).all():
        return "not a number"
    return f"{values.min():.4g} … {values.max():.4g}, mean {values.mean():.4g}"


def _name(number: int, labels: Sequence[str]) -> str:
    return labels[number] if 0 <= number < len(labels) and labels[number] else f"class {number}"
