"""From a file and its contract to the `Embedding` that templates are handed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgekit.contract import Contract, InputContract, Preprocess, image_axes
from edgekit.embed.meaning import meaning
from edgekit.embed.names import one_line, safe_names
from edgekit.embed.spec import (
    Delegate,
    Embedding,
    FileTensor,
    Letterbox,
    Output,
    Part,
    PictureInput,
    PortQuantization,
    Resize,
)
from edgekit.errors import UsageError
from edgekit.measure.parts import together
from edgekit.sources import digest

if TYPE_CHECKING:
    from edgekit.tflite.graph import Subgraph, Tensor
    from edgekit.tflite.model import Model
    from edgekit.tflite.summary import Port, Summary

_Number = TypeVar("_Number", int, float)
_TYPES = ("float32", "int8", "uint8", "int16", "int32", "int64")


def describe(
    path: Path,
    model: Model,
    summary: Summary,
    contract: Contract,
    *,
    name: str | None = None,
    delegate: Delegate = "cpu",
    threads: int = 1,
    top_k: int = 5,
) -> Embedding:
    """The whole description of a file.

    Args:
        path: the `.tflite`.
        model: the same, read.
        summary: of it.
        contract: as `edgekit.embed.completion.complete` gives it.
        name: of the module; the file's name unless stated.
        delegate: what the wrapper asks for first.
        threads: of the CPU.
        top_k: how many classes a classifier returns.

    Raises:
        UsageError: the file is nothing that a wrapper can be made for, or its contract lacks
            something; see the cause.
    """
    names, renamed = safe_names(name or path.stem)
    tensors = tuple(
        replace(_tensor(port, place, entry.tensor.name), step=step(model.main, tensor))
        for place, (port, entry, tensor) in enumerate(
            zip(summary.outputs, contract.outputs, model.main.outputs, strict=True)
        )
    )
    outputs = _outputs(contract, tensors)
    assumed = tuple(f"Assumed: {text}." for entry in contract.inputs for text in entry.assumed)
    resizable = tuple(
        f"The file can be resized; the module feeds pictures of {port.allocated}, as it starts."
        for port in summary.inputs
        if None in port.tensor.shape[1:]
    )
    return Embedding(
        names=names,
        model_file=f"{names.snake}.tflite",
        sha256=digest(path),
        size_bytes=summary.size_bytes,
        input=_picture(summary.inputs, contract.inputs),
        tensors=tensors,
        outputs=tuple(replace(output, name=one_line(output.name)) for output in outputs),
        decode=meaning(model, contract, outputs, top_k=top_k),
        operators=tuple((op.op, op.version, op.count) for op in summary.ops),
        custom_operators=(*summary.custom_ops, *summary.flex_ops),
        delegate=delegate,
        threads=threads,
        notes=(*renamed, *assumed, *resizable),
    )


def _tensor(port: Port, place: int, name: str) -> FileTensor:
    spec = port.tensor
    if spec.dtype not in _TYPES:
        raise UsageError(
            f"Tensor {name} is {spec.dtype}, which no wrapper is made for.",
            cure=f"Inputs and outputs must be one of: {', '.join(_TYPES)}.",
        )
    if port.scale is None:
        quantization = None
    else:
        quantization = PortQuantization(scale=port.scale, zero_point=port.zero_point or 0)
    return FileTensor(
        name=one_line(name),
        place=place,
        shape=port.allocated,
        dtype=spec.dtype,
        quantization=quantization,
    )


def step(graph: Subgraph, tensor: Tensor) -> float:
    """The largest scale of integers that a float tensor is made of, by operators in float."""
    waiting, seen, largest = [tensor], set[int](), 0.0
    while waiting:
        one = waiting.pop()
        producer = graph.producer(one)
        if producer is None or one.index in seen or not one.dtype.startswith("float"):
            continue
        seen.add(one.index)
        for source in filter(None, producer.inputs):
            if source.is_constant:
                continue
            if producer.name == "DEQUANTIZE" and source.quantization is not None:
                largest = max(largest, *source.quantization.scales)
            waiting.append(source)
    return largest


def _picture(ports: tuple[Port, ...], entries: tuple[InputContract, ...]) -> PictureInput:
    if len(entries) != 1 or entries[0].preprocess is None:
        names = ", ".join(f"{entry.tensor.name} {entry.tensor.shape}" for entry in entries)
        raise UsageError(
            f"Wrappers are made for models that take one picture; this one takes: {names}.",
            cure="State preprocess for the input if it is a picture; otherwise call the runtime "
            "directly.",
        )
    entry, preprocess = entries[0], entries[0].preprocess
    tensor = _tensor(ports[0], 0, entry.tensor.name)
    axes = image_axes(replace(entry.tensor, shape=tensor.shape))
    if axes is None or tensor.shape[0] != 1 or tensor.shape[axes[2]] not in (1, 3):
        raise UsageError(
            f"Input {tensor.name} has the shape {tensor.shape}: no single picture in gray or RGB.",
            cure="Export the model with a batch of 1 and 1 or 3 channels.",
        )
    height, width, channels = (tensor.shape[axis] for axis in axes)
    if None in ports[0].tensor.shape and height == width == 1:
        raise UsageError(
            f"Input {tensor.name} has no size of its own: {ports[0].tensor.shape}.",
            cure="Convert the model for the size that the app feeds, for example with --input "
            f"{tensor.name}:1x3x224x224; 224? in place of 224 leaves the size open.",
        )
    return PictureInput(
        tensor=tensor,
        height=height,
        width=width,
        channels=channels,
        channels_first=axes[2] == 1,
        color=preprocess.color,
        resize=_resize(preprocess),
        crop=preprocess.crop,
        crop_rounding=preprocess.crop_rounding,
        letterbox=_letterbox(preprocess),
        scale=preprocess.scale,
        mean=_per_channel(preprocess.mean, channels, "mean"),
        std=_per_channel(preprocess.std, channels, "std"),
    )


def _resize(preprocess: Preprocess) -> Resize | None:
    size = preprocess.resize
    if size is None:
        return None
    shorter = None
    if isinstance(size, int):
        shorter, size = (None, (size, size)) if preprocess.letterbox else (size, (0, 0))
    return Resize(
        shorter=shorter,
        height=size[0],
        width=size[1],
        interpolation=preprocess.interpolation,
        antialias=preprocess.antialias,
    )


def _letterbox(preprocess: Preprocess) -> Letterbox | None:
    if not preprocess.letterbox:
        return None
    channels = 1 if preprocess.color == "GRAY" else 3
    first, second, third = _per_channel(preprocess.pad_value, channels, "pad_value") * (
        3 // channels
    )
    return Letterbox(
        enlarge=preprocess.enlarge,
        centre=preprocess.pad_place == "centre",
        pad=(third, second, first) if preprocess.color == "BGR" else (first, second, third),
    )


def _per_channel(values: tuple[_Number, ...], channels: int, name: str) -> tuple[_Number, ...]:
    if len(values) not in (1, channels):
        raise UsageError(
            f"{name} has {len(values)} values, the picture {channels} channels.",
            cure=f"Give one value, or {channels}.",
        )
    return values * (channels // len(values))


def _outputs(contract: Contract, tensors: tuple[FileTensor, ...]) -> tuple[Output, ...]:
    """The model's outputs, each with the file's tensors that it consists of."""
    outputs = []
    specs = tuple(
        replace(entry.tensor, shape=tensor.shape)
        for entry, tensor in zip(contract.outputs, tensors, strict=True)
    )
    for spec, places, part in together(contract, specs):
        axis = part.axis if part else max(len(spec.shape) - 1, 0)
        start, parts = 0, []
        for place in places:
            shape = tensors[place].shape
            size = shape[axis] if shape else 1
            parts.append(Part(tensor=place, start=start, size=size))
            start += size
        shape = tuple(size or 1 for size in spec.shape) or (1,)
        outputs.append(Output(name=spec.name, shape=shape, axis=axis, parts=tuple(parts)))
    return tuple(outputs)
