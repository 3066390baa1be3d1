"""The model contract: what goes in, what comes out, and how a picture becomes a tensor.

One contract serves calibration, the reference, validation, the metadata inside the `.tflite` and
generated app code. It is read from ``edgekit.toml``, overridden by flags, completed with what the
model itself tells, and written into every `.tflite`.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast, get_args

from edgekit.errors import UsageError
from edgekit.types import Layout, TensorSpec

SCHEMA_VERSION = 1

Color: TypeAlias = Literal["RGB", "BGR", "GRAY"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic", "area", "nearest"]
Task: TypeAlias = Literal["classification", "detection", "segmentation", "regression", "embedding"]
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
"""The types of tensors that an input may be stated with."""


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an 8-bit picture to the tensor that the model expects, in this order.

    Attributes:
        resize: the shorter side in pixels (aspect ratio kept), or (height, width) exactly.
        crop: centre crop, (height, width) in pixels.
        color: the channel order the model expects.
        scale: multiplied onto the 0…255 values first.
        mean: subtracted then, per channel (or one value for all).
        std: divided by last, per channel (or one value for all).
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    color: Color = "RGB"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    interpolation: Interpolation = "bilinear"

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


@dataclass(frozen=True, kw_only=True)
class OutputContract:
    """One output: its tensor, and what it means."""

    tensor: TensorSpec
    task: Task | None = None
    labels: tuple[str, ...] = ()


_Entry = TypeVar("_Entry", InputContract, OutputContract)


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
        return json.dumps({"version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            UsageError: the text is no contract of a version that this edgekit knows.
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
                        assumed=tuple(entry["assumed"]),
                    )
                    for entry in data["inputs"]
                ),
                outputs=tuple(
                    OutputContract(
                        tensor=_tensor(entry["tensor"]),
                        task=entry["task"],
                        labels=tuple(entry["labels"]),
                    )
                    for entry in data["outputs"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"Not an edgekit contract: {error!r}") from error


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


def load_config(path: Path) -> Config:
    """Read ``edgekit.toml``.

    Raises:
        UsageError: the file is missing, is no TOML, has a table or key that nobody knows, or a
            value that makes no sense.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"There is no configuration {path}.", cure="Give its path with --config."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read as TOML: {error}") from error
    _check_table(data, _TOP, f"{path}")
    model = _check_table(data.get("model", {}), _MODEL, f"[model] of {path}")
    calibration = _check_table(
        data.get("calibration", {}), _CALIBRATION, f"[calibration] of {path}"
    )
    inputs, outputs = data.get("inputs", {}), data.get("outputs", {})
    for name, table in inputs.items():
        _check_table(table, _INPUT, f"[inputs.{name}] of {path}")
        preprocess_from_table(table.get("preprocess", {}))
    for name, table in outputs.items():
        _check_table(table, _OUTPUT, f"[outputs.{name}] of {path}")

    def below(value: str | None) -> Path | None:
        return None if value is None else path.parent / value

    return Config(
        source=model.get("source"),
        weights=below(model.get("weights")),
        inputs=inputs,
        outputs={
            name: {**table, "labels": str(path.parent / table["labels"])}
            if isinstance(table.get("labels"), str)
            else table
            for name, table in outputs.items()
        },
        calibration=below(calibration.get("data")),
        parity=below(calibration.get("parity")),
        samples=calibration.get("samples"),
        gates=tuple(f"{metric} {limit}" for metric, limit in data.get("gates", {}).items()),
    )


def _is_shape(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(type(dimension) is int and dimension > 0 for dimension in value)
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
_TABLE: _Check = _is_table, "a table"
_TOP = dict.fromkeys(("model", "inputs", "outputs", "calibration", "gates"), _TABLE)
_MODEL = {"source": _TEXT, "weights": _TEXT}
_CALIBRATION: dict[str, _Check] = {
    "data": _TEXT,
    "parity": _TEXT,
    "samples": (lambda value: type(value) is int and value > 0, "a number from 1"),
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
        lambda value: _is_text(value) or (isinstance(value, list) and all(map(_is_text, value))),
        "a file's name or a list of names",
    ),
}


def _check_table(table: Any, checks: Mapping[str, _Check], where: str) -> dict[str, Any]:
    """The same table, whose keys are known and whose values are what they must be."""
    if not isinstance(table, dict):
        raise UsageError(f"{where} is {table!r}; it must be a table.")
    _only(table, set(checks), where)
    for key, value in table.items():
        holds, words = checks[key]
        if not holds(value):
            raise UsageError(f"{where}: {key} is {value!r}; it must be {words}.")
    return table


def preprocess_from_table(table: Mapping[str, Any]) -> Preprocess:
    """A `Preprocess` from a TOML or JSON table, checked.

    Raises:
        UsageError: an unknown key or a value that makes no sense.
    """
    _only(table, {f.name for f in fields(Preprocess)}, "preprocess")
    values = dict(table)
    if (resize := values.get("resize")) is not None:
        whole = isinstance(resize, Integral)
        values["resize"] = _pixels(resize, "resize") if whole else _pair(resize, "resize")
    if (crop := values.get("crop")) is not None:
        values["crop"] = _pair([crop, crop] if isinstance(crop, Integral) else crop, "crop")
    for name in ("mean", "std"):
        if name in values:
            value = values[name]
            values[name] = tuple(
                _number(v, name) for v in (value if isinstance(value, list | tuple) else [value])
            )
    if "scale" in values:
        values["scale"] = _number(values["scale"], "scale")
    result = Preprocess(**values)
    if result.color not in get_args(Color):
        raise UsageError(f"color is {result.color!r}; it must be one of {get_args(Color)}.")
    if result.interpolation not in get_args(Interpolation):
        raise UsageError(
            f"interpolation is {result.interpolation!r}; "
            f"it must be one of {get_args(Interpolation)}."
        )
    if not result.mean or not result.std or 0.0 in result.std:
        raise UsageError("mean and std need at least one value each, and no std may be 0.")
    if len(result.mean) > 1 and len(result.std) > 1 and len(result.mean) != len(result.std):
        raise UsageError(f"mean has {len(result.mean)} values, std has {len(result.std)}.")
    return result


def parse_input_flag(text: str) -> TensorSpec:
    """``NAME:SHAPE[:DTYPE][:LAYOUT]``, for example ``image:1x3x224x224:float32:NCHW``.

    The shape's separator is ``x`` or ``,``; ``?`` is a dimension that the model leaves open.

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
    if not re.fullmatch(r"(\d+|\?)([x,](\d+|\?))*", last, re.ASCII):
        raise UsageError(
            f"--input {text!r}: {last!r} is neither a shape, nor a type {DTYPES}, nor a layout "
            f"{get_args(Layout)}.",
            cure="For example --input image:1x3x224x224:float32:NCHW",
        )
    dimensions = tuple(
        None if part == "?" else int(part) for part in last.replace(",", "x").split("x")
    )
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
    )


def resolve(
    described_inputs: tuple[TensorSpec, ...],
    described_outputs: tuple[TensorSpec, ...],
    *,
    config: Config,
    inputs: tuple[TensorSpec, ...] = (),
    preprocess: Mapping[str, Any] | None = None,
    task: Task | None = None,
    labels: tuple[str, ...] = (),
    embedded: Contract | None = None,
) -> Contract:
    """Complete what the model tells with ``edgekit.toml`` and then with flags.

    Names match by name; where the user gives exactly as many inputs as the model has and no name
    matches, they match by position. The model's own names are kept.

    Args:
        described_inputs: what the model tells about its inputs (shapes may be open).
        described_outputs: the same for the outputs.
        config: the parsed ``edgekit.toml`` (an empty `Config` where there is none).
        inputs: ``--input`` flags.
        preprocess: preprocessing flags, for the only (or every) picture input.
        task: ``--task``, for the first output.
        labels: the names of the classes, for the first output.
        embedded: the contract inside a `.tflite` source; everything else wins over it.

    Raises:
        UsageError: an open dimension remains, or what was given contradicts the model.
    """
    given = {
        name: TensorSpec(
            name=name,
            shape=tuple(table["shape"]) if "shape" in table else (),
            dtype=table.get("dtype", "float32"),
            layout=table.get("layout"),
        )
        for name, table in config.inputs.items()
    }
    for flag in inputs:
        before = given.get(flag.name)
        layout = flag.layout or (before.layout if before else None)
        given[flag.name] = replace(flag, layout=layout)
    matched = _match_names(described_inputs, given)
    embedded_inputs = _embedded(
        [spec.name for spec in described_inputs],
        {entry.tensor.name: entry for entry in embedded.inputs} if embedded else {},
    )
    resolved = []
    for spec in described_inputs:
        user = matched.get(spec.name)
        tensor = _merge(spec, user) if user else _fix_batch(spec)
        _require_static(tensor)
        stated = config.inputs.get(user.name if user else spec.name, {}).get("preprocess", {})
        earlier = embedded_inputs.get(spec.name)
        table = asdict(earlier.preprocess) if earlier and earlier.preprocess else {}
        table |= {**stated, **(preprocess or {})}
        if stated and _picture_axes(tensor) is None:
            raise UsageError(
                f"Input {spec.name} of shape {_show(tensor.shape)} is no picture (1 × height × "
                "width × 1, 3 or 4 channels), so it cannot be preprocessed as one.",
                cure=f"Remove preprocess from [inputs.{user.name if user else spec.name}].",
            )
        resolved.append(_with_preprocess(tensor, table))
    return Contract(
        inputs=tuple(resolved),
        outputs=_resolve_outputs(described_outputs, config, task, labels, embedded),
    )


def _resolve_outputs(
    described: tuple[TensorSpec, ...],
    config: Config,
    task: Task | None,
    labels: tuple[str, ...],
    embedded: Contract | None,
) -> tuple[OutputContract, ...]:
    names = [spec.name for spec in described]
    tables = _match_outputs(names, config.outputs)
    earlier = _embedded(
        names, {entry.tensor.name: entry for entry in embedded.outputs} if embedded else {}
    )
    outputs = []
    for index, spec in enumerate(described):
        table = tables.get(spec.name, {})
        before = earlier.get(spec.name, OutputContract(tensor=spec))
        own_labels = _labels(table["labels"]) if "labels" in table else before.labels
        outputs.append(
            OutputContract(
                tensor=spec,
                task=(task if index == 0 and task else table.get("task", before.task)),
                labels=labels if index == 0 and labels else own_labels,
            )
        )
    return tuple(outputs)


def _match_outputs(
    names: list[str], stated: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Mapping[str, Any]]:
    """The tables of ``[outputs]`` by the model's names; by place where no name matches."""
    unknown = sorted(set(stated) - set(names))
    if not unknown:
        return stated
    if len(unknown) == len(stated) and len(stated) in (1, len(names)):
        return dict(zip(names, stated.values(), strict=False))
    raise UsageError(
        f"The model has no output named {', '.join(unknown)}.",
        cure=f"Its outputs are: {', '.join(names)}",
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


def _picture_axes(tensor: TensorSpec) -> tuple[int, int, int] | None:
    axes = image_axes(tensor)
    return axes if axes is not None and tensor.shape[axes[2]] in (1, 3, 4) else None


def _with_preprocess(tensor: TensorSpec, table: dict[str, Any]) -> InputContract:
    axes = _picture_axes(tensor)
    if axes is None:
        return InputContract(tensor=tensor)
    layout: Layout = "NCHW" if axes[2] == 1 else "NHWC"
    height, width = cast(int, tensor.shape[axes[0]]), cast(int, tensor.shape[axes[1]])
    assumed = []
    unscaled = not {"scale", "mean", "std"} & set(table)
    if unscaled and tensor.dtype.startswith("float"):  # integer inputs take the pixels as they are
        table["scale"] = 1 / 255
        assumed.append("pixel values are scaled to 0…1 (no --scale, --mean or --std was given)")
    if "resize" not in table and "crop" not in table:
        table["resize"] = (height, width)
    if "color" not in table and tensor.shape[axes[2]] == 1:
        table["color"] = "GRAY"
    return InputContract(
        tensor=replace(tensor, layout=layout),
        preprocess=preprocess_from_table(table),
        assumed=tuple(assumed),
    )


def _embedded(names: list[str], entries: dict[str, _Entry]) -> dict[str, _Entry]:
    """What a file's contract says about its tensors, by the names that the file itself tells.

    The contract keeps the framework's names, a TFLite file may tell others: then the place decides.
    """
    if set(entries) & set(names) or len(entries) != len(names):
        return entries
    return dict(zip(names, entries.values(), strict=True))


def _match_names(
    described: tuple[TensorSpec, ...], given: dict[str, TensorSpec]
) -> dict[str, TensorSpec]:
    names = {spec.name for spec in described}
    by_name = {name: spec for name, spec in given.items() if name in names}
    if len(by_name) == len(given):
        return by_name
    if not by_name and len(given) == len(described):
        return {spec.name: user for spec, user in zip(described, given.values(), strict=True)}
    unknown = sorted(set(given) - names)
    raise UsageError(
        f"The model has no input named {', '.join(unknown)}.",
        cure=f"Its inputs are: {', '.join(sorted(names))}",
    )


def _merge(spec: TensorSpec, user: TensorSpec) -> TensorSpec:
    shape = user.shape or spec.shape
    fits = len(shape) == len(spec.shape) and all(
        mine is None or theirs is None or mine == theirs
        for mine, theirs in zip(shape, spec.shape, strict=True)
    )
    if spec.shape and not fits:
        raise UsageError(
            f"Input {spec.name}: the model wants {_show(spec.shape)}, you gave {_show(shape)}.",
            cure=f"--input {spec.name}:{_show(spec.shape)}",
        )
    if len(shape) == len(spec.shape):
        shape = tuple(
            theirs if mine is None else mine for mine, theirs in zip(shape, spec.shape, strict=True)
        )
    return _fix_batch(replace(spec, shape=shape, layout=user.layout or spec.layout))


def _fix_batch(spec: TensorSpec) -> TensorSpec:
    """An open first dimension is the batch, and an app runs one sample at a time."""
    if spec.shape and spec.shape[0] is None:
        return replace(spec, shape=(1, *spec.shape[1:]))
    return spec


def _require_static(spec: TensorSpec) -> None:
    if not spec.is_static:
        example = "x".join("224" if d is None else str(d) for d in spec.shape)
        raise UsageError(
            f"Input {spec.name} has dynamic dimensions: {_show(spec.shape)}.",
            cure=f"Say which size the app will use, for example --input {spec.name}:{example}",
        )


def _show(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if dimension is None else str(dimension) for dimension in shape)


def _labels(value: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return read_labels(Path(value)) if isinstance(value, str) else tuple(value)


def read_labels(path: Path) -> tuple[str, ...]:
    """One class name a line, in the order of the scores.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The labels file {path} cannot be read: {error}") from error


def _tensor(entry: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(
        name=entry["name"],
        shape=tuple(entry["shape"]),
        dtype=entry["dtype"],
        layout=entry["layout"],
    )


def _pair(value: Any, name: str) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise UsageError(f"{name} is {value!r}; it must be one number, or [height, width].")
    return _pixels(value[0], name), _pixels(value[1], name)


def _pixels(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise UsageError(f"{name} is {value!r}; it must be a whole number of pixels from 1.")
    return int(value)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise UsageError(f"{name} is {value!r}; it must be a finite number.")
    return float(value)


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(set(table) - known):
        raise UsageError(
            f"{where} has the unknown key {unknown[0]!r}.",
            cure=f"Known keys: {', '.join(sorted(known))}",
        )
