"""Option groups that commands share, and their translation into the core's words."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, get_args

import click

from edgekit.contract import Color, Interpolation, Task
from edgekit.errors import UsageError
from edgekit.types import SCHEMES

Function = TypeVar("Function", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)

_DATA = [
    click.option(
        "--calibration",
        type=PATH,
        help="Inputs that the model will really see: a folder of images, .npy, .npz or a video.",
    ),
    click.option(
        "--parity", type=PATH, help="Other inputs to compare on (default: a part of those)."
    ),
    click.option(
        "--samples", type=click.IntRange(1), help="At most so many for calibration [128]."
    ),
    click.option(
        "--parity-samples",
        type=click.IntRange(1),
        default=32,
        show_default=True,
        help="At most so many to compare on.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Decides which samples."),
    click.option("--synthetic", is_flag=True, help="Use random inputs; the report says so."),
]
_PREPROCESS = [
    click.option("--resize", help="Shorter side in pixels, or HEIGHTxWIDTH."),
    click.option("--crop", help="Centre crop: pixels, or HEIGHTxWIDTH."),
    click.option("--color", type=click.Choice(get_args(Color)), help="Channel order [RGB]."),
    click.option("--scale", help="Multiplied onto 0…255 first, for example 1/255."),
    click.option("--mean", help="Subtracted then, per channel: 0.485,0.456,0.406"),
    click.option("--std", help="Divided by last, per channel: 0.229,0.224,0.225"),
    click.option("--interpolation", type=click.Choice(get_args(Interpolation)), help="[bilinear]"),
]
_RESULT = [
    click.option(
        "--scheme",
        "schemes",
        multiple=True,
        type=click.Choice(SCHEMES),
        help="Repeatable. Default: fp32, fp16 and int8.",
    ),
    click.option("--task", type=click.Choice(get_args(Task)), help="What the first output means."),
    click.option("--labels", type=PATH, help="Class names, one a line."),
    click.option(
        "--gate",
        "gates",
        multiple=True,
        help='Repeatable: "top1_agreement >= 95%", "int8:size_mb <= 6".',
    ),
    click.option("--output", "-o", type=PATH, help="Folder for the files [NAME_tflite]."),
    click.option("--config", type=PATH, help="An edgekit.toml; flags win over it."),
    click.option("--force", is_flag=True, help="Replace existing outputs."),
    click.option(
        "--threads", type=click.IntRange(1), default=1, show_default=True, help="For latencies."
    ),
]
_LIMITS = [
    click.option("--step-timeout", type=float, help="Seconds that one step may take [900]."),
    click.option("--step-memory", type=float, help="Gigabytes that one step may use [16]."),
    click.option("--allow-network", is_flag=True, help="Let the model's own code use the network."),
]
_DISPLAY = [
    click.option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="No progress, no table."),
    click.option("--verbose", "-v", is_flag=True, help="A line with the time of every step."),
]


def conversion_options(function: Function) -> Function:
    """Everything that `convert` and `quantize` have in common."""
    for option in reversed([*_DATA, *_PREPROCESS, *_RESULT, *_LIMITS, *_DISPLAY]):
        function = option(function)
    return function


def request_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The shared options as arguments of `edgekit.pipeline.ConversionRequest`.

    Raises:
        UsageError: a number or size cannot be read.
    """
    from edgekit.toolchain.workshop import Limits

    same = ["calibration", "parity", "samples", "parity_samples", "seed", "synthetic", "schemes"]
    same += ["task", "labels", "gates", "output", "config", "force", "threads"]
    return {
        **{name: options[name] for name in same},
        "preprocess": preprocess_flags(options),
        "limits": Limits(
            seconds=options["step_timeout"],
            memory_gb=options["step_memory"],
            allow_network=options["allow_network"],
        ),
    }


def preprocess_flags(options: dict[str, Any]) -> dict[str, Any]:
    """Those preprocessing keys that were given."""
    readers: dict[str, Callable[[str], Any]] = {
        "resize": _size,
        "crop": lambda text: (size, size) if isinstance(size := _size(text), int) else size,
        "color": str,
        "scale": _number,
        "mean": _numbers,
        "std": _numbers,
        "interpolation": str,
    }
    result = {}
    for name, read in readers.items():
        if (text := options[name]) is not None:
            try:
                result[name] = read(text)
            except (ValueError, ZeroDivisionError):
                raise UsageError(
                    f"--{name} {text!r} cannot be read.",
                    cure="For example --resize 256, --crop 224x224, --scale 1/255, "
                    "--mean 0.485,0.456,0.406",
                ) from None
    return result


def _size(text: str) -> int | tuple[int, int]:
    if "x" in text:
        height, width = map(int, text.split("x"))
        return height, width
    return int(text)


def _number(text: str) -> float:
    return float(Fraction(text.strip()))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(_number, text.split(",")))
