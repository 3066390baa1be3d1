"""What the user states about a model: ``edgekit.toml``, ``--input`` flags, label files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

from edgekit.contract import (
    Task,
    check_elements,
    check_preprocess,
    decoder_from_table,
    is_of_sequence,
    only_known_keys,
    sequence_from_table,
)
from edgekit.errors import UsageError
from edgekit.files import is_name, kind_of, lines_of, read_text, read_toml, shown
from edgekit.types import Layout, TensorSpec

DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
"""The types of tensors that an input may be stated with."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """``edgekit.toml`` as written; flags win over it.

    ``inputs`` and ``outputs`` are kept by name, since the model's own specs come later. Paths are
    resolved against the file's folder.
    """

    source: str | None = None
    weights: Path | None = None
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    calibration: Path | None = None
    parity: Path | None = None
    samples: int | None = None
    gates: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    devices: Mapping[str, str] = field(default_factory=dict)


CONFIG_NAME = "edgekit.toml"


def find_config() -> Path | None:
    """The nearest ``edgekit.toml``: in this folder or above it."""
    here = Path.cwd()
    found = (folder / CONFIG_NAME for folder in (here, *here.parents))
    return next((path for path in found if kind_of(path) == "file"), None)


def load_config(path: Path) -> Config:
    """Read ``edgekit.toml``.

    Raises:
        UsageError: the file is missing, is not TOML, has a table or key that nobody knows, or a
            value that makes no sense.
    """
    if kind_of(path) == "none":
        raise UsageError(
            f"There is no configuration {shown(path)}.", cure="Give its path with --config."
        )
    data = read_toml(path, UsageError)
    _check_table(data, _TOP, f"{path}")
    model = _check_table(data.get("model", {}), _MODEL, f"[model] of {path}")
    calibration = _check_table(
        data.get("calibration", {}), _CALIBRATION, f"[calibration] of {path}"
    )
    for name, address in data.get("devices", {}).items():
        if not _is_text(address):
            raise UsageError(f"[devices] of {path}: {name} is {address!r}; it must be an address.")
    target = _check_table(data.get("target", {}), _TARGET, f"[target] of {path}")
    compat = _check_table(data.get("compat", {}), _COMPAT, f"[compat] of {path}")
    inputs, outputs = data.get("inputs", {}), data.get("outputs", {})
    for name, table in inputs.items():
        _check_table(table, _INPUT, f"[inputs.{name}] of {path}")
        check_preprocess(table.get("preprocess", {}))
        check_elements(table.get("shape", ()), shown(name))
    for name, table in outputs.items():
        _check_table(table, _OUTPUT, f"[outputs.{name}] of {path}")
        if is_of_sequence(decoder := table.get("decoder", {})):
            sequence_from_table(decoder)
        elif "decoder" in table:
            decoder_from_table(decoder)

    def below(value: str | None) -> Path | None:
        return None if value is None else path.parent / value

    return Config(
        source=model.get("source"),
        weights=below(model.get("weights")),
        inputs=inputs,
        outputs={name: _with_paths(table, path.parent) for name, table in outputs.items()},
        calibration=below(calibration.get("data")),
        parity=below(calibration.get("parity")),
        samples=calibration.get("samples"),
        gates=tuple(f"{metric} {limit}" for metric, limit in data.get("gates", {}).items()),
        targets=tuple(
            str(path.parent / name) if name.endswith(".toml") else name
            for name in target.get("profiles", ())
        ),
        clients=tuple(compat.get("clients", ())),
        devices=data.get("devices", {}),
    )


def _with_paths(table: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """An output's table whose files are named from the folder of the configuration."""
    result = dict(table)
    if isinstance(table.get("labels"), str):
        result["labels"] = str(folder / table["labels"])
    decoder = table.get("decoder", {})
    if "anchors" in decoder:
        result["decoder"] = {**decoder, "anchors": str(folder / decoder["anchors"])}
    return result


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(type(size) is int and 0 < size < 1 << 31 for size in value)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _one_of(*known: str) -> _Check:
    return lambda value: value in known, f"one of {', '.join(known)}"


_Check: TypeAlias = tuple[Callable[[Any], bool], str]
"""What a key's value must be: a test, and the same in words."""


_TEXT: _Check = _is_text, "a text"


_PATH: _Check = (
    lambda value: _is_text(value) and is_name(value),
    "a path whose names have at most 255 bytes",
)


_TABLE: _Check = _is_table, "a table"


_TOP = dict.fromkeys(
    ("model", "inputs", "outputs", "calibration", "gates", "devices", "target", "compat"), _TABLE
)


_MODEL = {"source": _PATH, "weights": _PATH}


_CALIBRATION: dict[str, _Check] = {
    "data": _PATH,
    "parity": _PATH,
    "samples": (lambda value: type(value) is int and value > 0, "a number from 1"),
}


_COMPAT: dict[str, _Check] = {
    "clients": (
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of names of clients",
    ),
}
_TARGET: dict[str, _Check] = {
    "profiles": (
        lambda value: isinstance(value, list) and all(map(_PATH[0], value)),
        "a list of names or paths of profiles",
    ),
}


_INPUT: dict[str, _Check] = {
    "shape": (_is_shape, "a list of numbers from 1, such as [1, 3, 224, 224]"),
    "layout": _one_of(*get_args(Layout)),
    "dtype": _one_of(*DTYPES),
    "preprocess": _TABLE,
}


_OUTPUT: dict[str, _Check] = {
    "task": _one_of(*get_args(Task)),
    "labels": (
        lambda value: _PATH[0](value) or (isinstance(value, list) and all(map(_is_text, value))),
        "a file's name or a list of names",
    ),
    "decoder": _TABLE,
}


def _check_table(table: Any, checks: Mapping[str, _Check], where: str) -> dict[str, Any]:
    """The same table, whose keys are known and whose values are what they must be."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}; it must be a table.")
    only_known_keys(table, set(checks), where)
    for key, value in table.items():
        holds, words = checks[key]
        if not holds(value):
            raise UsageError(f"{where}: {key} is {value!r}; it must be {words}.")
    return table


def parse_input_flag(text: str) -> TensorSpec:
    """``NAME:SHAPE[:DTYPE][:LAYOUT]``, for example ``image:1x3x224x224:float32:NCHW``.

    The shape's separator is ``x`` or ``,``. ``?`` and ``320?`` are dimensions that the app may
    change: the file can be resized there, and starts with 320, or with a usual size.

    Raises:
        UsageError: the text has another form.
    """
    *words, last = text.split(":")
    stated: list[str] = []
    while words and (last in DTYPES or last.upper() in get_args(Layout)):
        stated.append(last)
        last = words.pop()
    name = ":".join(words)  # names of TensorFlow have a colon inside: `input:0`
    if not name:
        raise UsageError(
            f"--input {text!r} is not NAME:SHAPE[:DTYPE][:LAYOUT].",
            cure="For example --input image:1x3x224x224 or --input tokens:1x128:int64",
        )
    if not re.fullmatch(r"(\d{1,10}\??|\?)([x,](\d{1,10}\??|\?)){0,31}", last, re.ASCII):
        raise UsageError(
            f"--input {shown(text)!r}: {shown(last)!r} is neither a shape, nor a type {DTYPES}, "
            f"nor a layout {get_args(Layout)}.",
            cure="For example --input image:1x3x224x224:float32:NCHW",
        )
    parts = last.replace(",", "x").split("x")
    dimensions = tuple(
        int(part.rstrip("?") or _usual_size(axis, len(parts))) for axis, part in enumerate(parts)
    )
    check_elements(dimensions, shown(name))
    if 0 in dimensions:
        raise UsageError(f"--input {text!r}: every dimension must be at least 1.")
    dtypes = [part for part in stated if part in DTYPES]
    layouts = [cast(Layout, part.upper()) for part in stated if part not in DTYPES]
    if len(dtypes) > 1 or len(layouts) > 1:
        raise UsageError(f"--input {text!r} states its type or its layout twice.")
    return TensorSpec(
        name=name,
        shape=dimensions,
        dtype=dtypes[0] if dtypes else "float32",
        layout=layouts[0] if layouts else None,
        resizable=tuple(axis for axis, part in enumerate(parts) if part.endswith("?")),
    )


def _usual_size(axis: int, rank: int) -> int:
    """Where a resizable dimension starts: one sample, a side of a picture, a short sequence."""
    if axis == 0:
        return 1
    return 224 if rank == 4 else 32


def read_labels(path: Path) -> tuple[str, ...]:
    """One class name a line, in the order of the scores.

    Raises:
        UsageError: the file cannot be read.
    """
    text = read_text(path, UsageError, cure="Give a file of class names, one a line.")
    return tuple(line.strip() for line in lines_of(text))
