"""A first ``edgekit.toml``, from what a model and its makers' notes tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from edgekit.config import Config
from edgekit.contract import Contract, InputContract, OutputContract, Preprocess
from edgekit.pipeline.inspection import SourceSummary
from edgekit.resolve import resolve
from edgekit.types import TensorSpec


def first_config(
    summary: SourceSummary,
    *,
    data: Path | None = None,
    weights: Path | None = None,
    inputs: tuple[TensorSpec, ...] = (),
) -> str:
    """The text of an ``edgekit.toml`` in which every value says where it comes from.

    Args:
        summary: the model as its framework describes it.
        data: inputs that the model will really see.
        weights: of a PyTorch factory.
        inputs: stated shapes.

    Raises:
        UsageError: a size is open, or the notes say what no contract can.
    """
    contract = resolve(
        summary.inputs, summary.outputs, config=Config(), inputs=inputs, preset=summary.preset
    )
    return "\n".join(_lines(summary.path, contract, data, weights)) + "\n"


def _lines(
    model: str, contract: Contract, data: Path | None, weights: Path | None
) -> Iterator[str]:
    yield "# How edgekit converts this model. Options on the command line win over this file."
    yield "# https://toml.io has the form; docs/reference.md of edgekit every key."
    yield from ("", "[model]", f"source = {_text(model)}")
    if weights is not None:
        yield f"weights = {_text(str(weights))}"
    for entry in contract.inputs:
        yield from _input(entry)
    for place, output in enumerate(contract.outputs):
        yield from _output(output, first=place == 0)
    yield from ("", "[calibration]")
    yield "# Inputs that the model will really see: a folder of pictures, .npy, .npz or a video."
    yield f"data = {_text(str(data))}" if data else '# data = "photos"'
    yield from ("", "[gates]", "# What every file must hold, beside the defaults:")
    yield '# top1_agreement = ">= 95%"'


def _input(entry: InputContract) -> Iterator[str]:
    tensor = entry.tensor
    yield from ("", f"[inputs.{_text(tensor.name)}]", f"shape = {list(tensor.shape)}")
    if tensor.dtype != "float32":
        yield f"dtype = {_text(tensor.dtype)}"
    if tensor.layout:
        yield f"layout = {_text(tensor.layout)}"
    if entry.preprocess is None:
        return
    yield "# From a picture to the tensor: resize, crop, color, * scale, - mean, / std."
    yield f"[inputs.{_text(tensor.name)}.preprocess]"
    plain = Preprocess()
    for field in fields(Preprocess):
        value = getattr(entry.preprocess, field.name)
        if field.name in entry.origins or value != getattr(plain, field.name):
            origin = entry.origins.get(field.name, "assumed: check it")
            yield f"{field.name} = {_value(value)}  # {' '.join(origin.split())}"


def _output(output: OutputContract, *, first: bool) -> Iterator[str]:
    yield from ("", f"[outputs.{_text(output.tensor.name)}]")
    if output.task:
        yield f"task = {_text(output.task)}"
    elif first:
        yield '# What it means decides the gates: "classification", "detection", "regression" …'
        yield '# task = "classification"'
    if output.decoder:
        yield f"decoder = {{ format = {_text(output.decoder.format)} }}"
    if output.labels:
        yield f"labels = {json.dumps(list(output.labels), ensure_ascii=True)}"
    elif first:
        yield '# labels = "labels.txt"  # the names of the classes, one a line'


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A text of TOML, which has JSON's escapes."""
    return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
