"""What the outputs mean: from the contract's task and decoder to a description of the decoding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from edgekit.contract import Activation, BoxFormat, Contract, Decoder, DecoderFormat, OutputContract
from edgekit.embed.spec import (
    Classification,
    Decode,
    Detection,
    Output,
    Segmentation,
    SymbolSequence,
    Values,
)
from edgekit.errors import UsageError
from edgekit.measure.tasks import lines_to_paste
from edgekit.npy import map_npy
from edgekit.validation.metrics.sequence import symbol_axis, symbol_table

if TYPE_CHECKING:
    from edgekit.tflite.model import Model

_BOX: dict[DecoderFormat, BoxFormat] = {
    "yolov8": "cxcywh",
    "yolov5": "cxcywh",
    "yolo-grid": "cxcywh",
    "ssd": "yxyx",
    "boxes": "yxyx",
    "table": "xyxy",
}
_PASSED_THROUGH = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "CAST", "TRANSPOSE")


def meaning(model: Model, contract: Contract, outputs: tuple[Output, ...], *, top_k: int) -> Decode:
    """How the outputs are decoded.

    Raises:
        UsageError: labels do not match the output, a decoder is missing or names what is not there.
    """
    names = [output.name for output in outputs]
    entries = {entry.part.of if entry.part else entry.tensor.name: entry
               for entry in reversed(contract.outputs)}  # fmt: skip
    main = next(
        (name for name in names if entries[name].decoder),
        next((name for name in names if entries[name].task), names[0]),
    )
    place, entry = names.index(main), entries[main]
    match contract.task:
        case "classification":
            return _classification(model, place, entry, outputs[place], top_k)
        case "detection":
            return _detection(contract, entry, names, place, outputs)
        case "segmentation":
            return _segmentation(model, place, entry, outputs[place])
        case "regression" | "embedding" | "image-to-image" | "keypoints" | "depth" | None:
            return Values(output=place)
        case "sequence":
            return _sequence(place, entry, outputs[place])
        case task:
            assert_never(task)


def _sequence(place: int, entry: OutputContract, output: Output) -> SymbolSequence:
    decoder = entry.sequence
    if decoder is None:
        raise UsageError(
            f"The contract does not say how output {output.name} becomes a text.",
            cure=f'In an edgekit.toml: [outputs."{output.name}"] task = "sequence" and '
            'decoder = { format = "ctc", blank = "first" }, then --config; or convert the model '
            "with --task sequence, which finds it out.",
        )
    sizes = [size for size in output.shape if size != 1]
    if len(sizes) not in (1, 2):
        raise UsageError(
            f"Output {output.name} has the shape {output.shape}: no score for each step and "
            "symbol.",
            cure="State another --task.",
        )
    axis, steps, symbols = 1, sizes[0], len(entry.labels)
    if len(sizes) == 2:
        axis = symbol_axis(sizes, len(entry.labels))
        steps, symbols = sizes[1 - axis], sizes[axis]
    stop = decoder.blank if decoder.format == "ctc" else decoder.end
    assert stop is not None
    return SymbolSequence(
        output=place,
        format=decoder.format,
        form="scores" if len(sizes) == 2 else "numbers",
        steps=steps,
        symbols=symbols,
        step_stride=symbols if axis == 1 else 1,
        symbol_stride=1 if axis == 1 else steps,
        special=symbols - 1 if stop == -1 else stop,
        labels=symbol_table(entry.labels, decoder, symbols),
    )


def _classification(
    model: Model, place: int, entry: OutputContract, output: Output, top_k: int
) -> Classification:
    classes = output.size
    if classes != max(output.shape) or classes < 2:
        raise UsageError(
            f"Output {output.name} has the shape {output.shape}: no vector of class scores.",
            cure="State another --task, or export the model with a score for each class.",
        )
    _require_labels(entry.labels, classes, f"output {output.name} has {classes} scores")
    activation, why = _activation(last_operator(model, output.parts[0].tensor))
    return Classification(
        output=place,
        classes=classes,
        activation=activation,
        why=why,
        top_k=min(top_k, classes),
        labels=entry.labels,
    )


def _activation(last: str) -> tuple[Activation, str]:
    match last:
        case "SOFTMAX":
            return "none", "the model ends in SOFTMAX"
        case "LOGISTIC":
            return "none", "the model ends in LOGISTIC"
        case _:
            return "softmax", f"the model ends in {last}: its scores are not probabilities yet"


def last_operator(model: Model, output: int) -> str:
    """What computes an output of the file, past operators that only pass values on."""
    tensor = model.main.outputs[output]
    while (op := model.main.producer(tensor)) is not None:
        source = op.inputs[0] if op.inputs else None
        if op.name not in _PASSED_THROUGH or source is None:
            return op.name
        tensor = source
    return "nothing"


def _require_labels(labels: tuple[str, ...], classes: int, where: str) -> None:
    if labels and len(labels) != classes:
        raise UsageError(
            f"There are {len(labels)} labels, but {where}.",
            cure="Give one name for each class, in the order of the scores, one a line (--labels).",
        )


def _detection(
    contract: Contract,
    entry: OutputContract,
    names: list[str],
    place: int,
    outputs: tuple[Output, ...],
) -> Detection:
    decoder = entry.decoder
    if decoder is None:
        raise UsageError(
            "The contract of this detector does not say how its outputs become boxes (decoder).",
            cure=f"{lines_to_paste(contract)}\nThen name the file with --config.",
        )
    if decoder.format == "table":
        raise UsageError(
            "edgekit embed writes no code for boxes, scores and classes in one table.",
            cure="Let the model return y[..., :4], y[..., 4] and y[..., 5] as three outputs; state "
            'decoder = { format = "boxes", scores = "SCORES", classes = "CLASSES", box = "xyxy" }.',
        )
    scores, selected, count = (
        _place(name, names) for name in (decoder.scores, decoder.classes, decoder.count)
    )
    shape = outputs[place].shape[1:]
    classes = _class_count(decoder, shape, outputs, scores)
    if classes:
        _require_labels(entry.labels, classes, f"the detector tells {classes} classes apart")
    return Detection(
        format=decoder.format,
        box=decoder.box or _BOX[decoder.format],
        normalized=decoder.normalized,
        boxes=place,
        scores=scores,
        selected=selected,
        count=count,
        heads=tuple(range(len(outputs))) if decoder.format == "yolo-grid" else (),
        activation=decoder.activation,
        background=decoder.background,
        anchors=_anchors(decoder),
        variances=decoder.variances,
        grid_anchors=decoder.grid_anchors,
        score_threshold=decoder.score_threshold,
        iou_threshold=decoder.iou_threshold,
        max_detections=decoder.max_detections,
        rows=shape[0] if shape else 1,
        columns=shape[1] if len(shape) > 1 else 1,
        classes=classes,
        labels=entry.labels,
    )


def _place(name: str | None, names: list[str]) -> int | None:
    if name is None:
        return None
    if name not in names:
        raise UsageError(
            f"The decoder names the output {name!r}, which the model does not have.",
            cure=f"Its outputs are: {', '.join(names)}",
        )
    return names.index(name)


def _class_count(
    decoder: Decoder, shape: tuple[int, ...], outputs: tuple[Output, ...], scores: int | None
) -> int:
    """How many classes there are, the background not counted; 0 where the shapes do not tell."""
    match decoder.format:
        case "yolov8":
            return shape[0] - 4
        case "yolov5":
            return shape[1] - 5
        case "yolo-grid":
            last = outputs[0].shape[-1]
            anchors = len(decoder.grid_anchors[0])
            return (last if len(outputs[0].shape) == 5 else last // anchors) - 5
        case "ssd":
            whole = outputs[scores].size // shape[0] if scores is not None else 0
            return whole - (decoder.background is not None)
        case "boxes" | "table":
            return 0
        case unknown:
            assert_never(unknown)


def _anchors(decoder: Decoder) -> tuple[tuple[float, ...], ...]:
    if decoder.anchors is None:
        return ()
    try:
        anchors = map_npy(Path(decoder.anchors), UsageError, name=f"Anchors {decoder.anchors}")
    except UsageError as error:
        raise UsageError(
            error.cause,
            cure="State decoder with the path of the .npy file in an edgekit.toml (--config).",
        ) from error
    return tuple(tuple(float(value) for value in row) for row in anchors)


def _segmentation(model: Model, place: int, entry: OutputContract, output: Output) -> Segmentation:
    shape, count = output.shape, len(entry.labels)
    layout = entry.tensor.layout
    if len(shape) == 4 and shape[3] != 1 and not (layout == "NCHW" and shape[1] == 1):
        first = _channels_first(shape, layout, count)
        classes = shape[1] if first else shape[3]
        height, width = (shape[2], shape[3]) if first else (shape[1], shape[2])
        _require_labels(entry.labels, classes, f"output {output.name} has {classes} planes")
        return Segmentation(
            output=place,
            form="planes",
            height=height,
            width=width,
            classes=classes,
            class_stride=height * width if first else 1,
            pixel_stride=1 if first else classes,
            threshold=0.0,
            labels=entry.labels,
        )
    height, width = shape[2:] if layout == "NCHW" and len(shape) == 4 else shape[1:3]
    last = last_operator(model, output.parts[0].tensor)
    whole = entry.tensor.dtype.startswith(("int", "uint")) or last in ("ARG_MAX", "ARG_MIN")
    if not whole:
        _require_labels(entry.labels, 2, f"output {output.name} tells two classes apart")
    return Segmentation(
        output=place,
        form="map" if whole else "mask",
        height=height,
        width=width,
        classes=count if whole else 2,
        class_stride=1,
        pixel_stride=1,
        threshold=0.5 if last == "LOGISTIC" else 0.0,
        labels=entry.labels,
    )


def _channels_first(shape: tuple[int, ...], layout: str | None, count: int) -> bool:
    """Whether the classes are the second axis: as stated, by the labels, else the smaller one."""
    if layout is not None:
        return layout == "NCHW"
    if count and (shape[1] == count) != (shape[3] == count):
        return shape[1] == count
    if shape[2] == shape[3] != shape[1]:
        return True
    if shape[1] == shape[2] != shape[3]:
        return False
    return shape[1] < shape[3]
