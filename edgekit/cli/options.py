"""Option groups that commands share, and their translation into the core's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, get_args

import click

from edgekit.cli.parameters import (
    COUNT,
    DECIBELS,
    FOLDER,
    GIGABYTES,
    PATH,
    SECONDS,
    SEED,
    SHARE,
    THREADS,
    Levels,
    Number,
    Numbers,
    Size,
)
from edgekit.contract import Color, CropRounding, Interpolation, PadPlace, Preprocess, Task
from edgekit.types import SCHEMES, Effort, IoDtype, Pass

if TYPE_CHECKING:
    from edgekit.toolchain.workshop import Limits

_LAYOUTS = ("folders", "coco", "voc", "voc-segmentation", "yolo", "csv", "npz", "texts")


def _option(*names: str, **attributes: Any) -> click.Option:
    return click.Option(names, **attributes)


ACCEPT_FEW = "Judge on however few samples there are; they prove less than PASS says."
OPEN = "Show the page in the browser."
ACCEPT_CONTRACT = "Inputs are meant as stated, though the model does better with others."
_DATA = [
    _option(
        "--calibration",
        type=PATH,
        help="Inputs that the model will really see: a folder of images, .npy, .npz or a video.",
    ),
    _option("--parity", type=PATH, help="Other inputs to compare on (default: a part of those)."),
    _option("--samples", type=COUNT, help="Calibrate with at most this many samples [128]."),
    _option(
        "--parity-samples",
        type=COUNT,
        default=64,
        show_default=True,
        help="Compare on at most this many samples.",
    ),
    _option(
        "--seed",
        type=SEED,
        default=0,
        show_default=True,
        help="Seed that picks the samples.",
    ),
    _option("--synthetic", is_flag=True, help="Use random inputs; the report says so."),
]
_PREPROCESS = [
    _option("--resize", type=Size(), help="Shorter side in pixels, or HEIGHTxWIDTH."),
    _option("--crop", type=Size(pair=True), help="Centre crop: pixels, or HEIGHTxWIDTH."),
    _option(
        "--crop-rounding",
        type=click.Choice(get_args(CropRounding)),
        help="How a crop that starts at half a pixel is rounded: even (torchvision) or down "
        "(transformers).",
    ),
    _option("--color", type=click.Choice(get_args(Color)), help="Channel order [RGB]."),
    _option(
        "--scale", type=Number(zero=False), help="Multiplied onto 0…255 first, for example 1/255."
    ),
    _option("--mean", type=Numbers(), help="Subtracted then, per channel: 0.485,0.456,0.406"),
    _option(
        "--std", type=Numbers(zero=False), help="Divided by last, per channel: 0.229,0.224,0.225"
    ),
    _option(
        "--interpolation",
        type=click.Choice(get_args(Interpolation)),
        help="How a resize interpolates [bilinear].",
    ),
    _option(
        "--antialias/--no-antialias",
        default=None,
        help="Resize as Pillow, torchvision and timm do, or as OpenCV [no].",
    ),
    _option(
        "--letterbox/--no-letterbox",
        default=None,
        help="Keep the aspect ratio within --resize, and pad to the input's size [no].",
    ),
    _option(
        "--pad-value",
        type=Levels(),
        help="Grey level of a letterbox's border, 0…255; or per channel [114].",
    ),
    _option(
        "--pad-place",
        type=click.Choice(get_args(PadPlace)),
        help="Whether the picture lies in the centre, or the padding at the end [centre].",
    ),
    _option(
        "--enlarge/--no-enlarge",
        default=None,
        help="Whether a letterbox makes small pictures larger [yes].",
    ),
]
_RESULT = [
    _option(
        "--fold-preprocess/--no-fold-preprocess",
        default=None,
        help="Normalise inside the files, so that apps feed raw pixels 0…255, or not "
        "[only int8, where the preprocessing is stated].",
    ),
    _option(
        "--feed-color",
        type=click.Choice(("RGB", "BGR")),
        help="With --fold-preprocess: the channel order that the app feeds [RGB].",
    ),
    _option(
        "--scheme",
        "schemes",
        multiple=True,
        type=click.Choice(SCHEMES),
        help="Repeatable. Default: fp32, fp16 and int8.",
    ),
    _option(
        "--io-dtype",
        type=click.Choice(get_args(IoDtype)),
        help="The type of int8's inputs and outputs [int8].",
    ),
    _option(
        "--effort",
        type=click.Choice(get_args(Effort)),
        default="balanced",
        show_default=True,
        help="How carefully the model is prepared for int8.",
    ),
    _option(
        "--ranges",
        default="auto",
        show_default=True,
        help="How activation ranges are chosen: auto, minmax, mse, entropy, percentile:99.99.",
    ),
    _option(
        "--no-standard-metadata",
        is_flag=True,
        help="Leave out what MediaPipe and ML Kit read; edgekit's own contract stays.",
    ),
    _option(
        "--without",
        multiple=True,
        type=click.Choice(get_args(Pass)),
        help="Repeatable: a pass to leave out of the preparation for int8.",
    ),
    _option("--keep-prepared", is_flag=True, help="Also write the prepared float model."),
    _option(
        "--max-drop",
        type=SHARE,
        help="Accuracy budget of int8: top-1, or what the task has, that may be lost: 1%.",
    ),
    _option("--min-sqnr", type=DECIBELS, help="Accuracy budget of int8, in dB."),
    _option(
        "--min-agreement",
        type=SHARE,
        help="Accuracy budget of int8: decisions that must stay, such as 98%.",
    ),
    _option(
        "--max-latency",
        type=Number(1),
        help="Best accuracy at so many times the latency of plain int8, such as 1.25: some layers "
        "get more than 8 bits.",
    ),
    _option("--keep-float", multiple=True, help="Repeatable: an operator of int8 left in float."),
    _option("--keep-int16", multiple=True, help="Repeatable: one with 16-bit activations."),
    _option(
        "--allow-float-ops",
        is_flag=True,
        help="Do not fail an int8 file with operators that compute in float.",
    ),
    _option(
        "--target",
        "targets",
        multiple=True,
        metavar="NAME|PROFILE.toml",
        help="Repeatable: every file must fit it. See: edgekit target list",
    ),
    _option(
        "--compat",
        multiple=True,
        metavar="NAME,…",
        help="Every file must run and agree in these clients. See: edgekit compat --list",
    ),
    _option("--task", type=click.Choice(get_args(Task)), help="What the first output means."),
    _option("--labels", type=PATH, help="Class names, one a line."),
    _option("--accept-few", is_flag=True, help=ACCEPT_FEW),
    _option("--accept-contract", is_flag=True, help=ACCEPT_CONTRACT),
    _option(
        "--gate",
        "gates",
        multiple=True,
        help='Repeatable: "top1_agreement >= 95%", "int8:size_mb <= 6".',
    ),
    _option("--output", "-o", type=PATH, help="Folder for the files [NAME_tflite]."),
    _option("--config", type=PATH, help="An edgekit.toml; flags win over it."),
    _option("--no-pictures", is_flag=True, help="Keep the samples' pictures out of the page."),
    _option("--open", "open_page", is_flag=True, help=OPEN),
    _option("--force", is_flag=True, help="Replace existing outputs."),
    _option(
        "--threads",
        type=THREADS,
        default=1,
        show_default=True,
        help="Threads for latencies.",
    ),
]
cluster_option = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="A Ray cluster that does the work: HOST:PORT, ray://HOST:PORT, or local.",
)
open_option = click.option("--open", "open_page", is_flag=True, help=OPEN)
accept_few_option = click.option("--accept-few", is_flag=True, help=ACCEPT_FEW)
accept_contract_option = click.option("--accept-contract", is_flag=True, help=ACCEPT_CONTRACT)
_REFERENCE = [
    _option(
        "--layout",
        type=click.Choice(_LAYOUTS),
        help="Layout of the data, where it is not recognised.",
    ),
    _option("--limit", type=COUNT, help="Use at most this many samples."),
    _option(
        "--seed",
        type=SEED,
        default=0,
        show_default=True,
        help="Seed that picks the samples.",
    ),
    _option("--weights", type=PATH, help="A state dict: .pt, .safetensors or a Lightning .ckpt."),
    _option(
        "--input",
        "inputs",
        multiple=True,
        metavar="NAME:SHAPE[:DTYPE][:LAYOUT]",
        help="Repeatable; needed where the reference does not say: image:1x3x224x224",
    ),
    _option("--trust-pickle", is_flag=True, help="Open a pickle, which can run any code."),
    _option(
        "--reference-device",
        "device",
        type=click.Choice(("auto", "cuda", "cpu")),
        default="auto",
        show_default=True,
        help="Where a PyTorch reference runs.",
    ),
    _option(
        "--timeout",
        type=SECONDS,
        default=60.0,
        show_default=True,
        help="Seconds that a server may take for one answer.",
    ),
    _option("--task", type=click.Choice(get_args(Task)), help="What the first output means."),
    _option("--labels", type=PATH, help="Class names, one a line."),
    _option("--config", type=PATH, help="An edgekit.toml; flags win over it."),
]
_LIMITS = [
    _option(
        "--step-timeout",
        type=SECONDS,
        help="Seconds that one step may take [900].",
    ),
    _option(
        "--step-memory",
        type=GIGABYTES,
        help="Gigabytes that one step may use [16].",
    ),
    _option("--allow-network", is_flag=True, help="Let the model's own code use the network."),
    _option(
        "--allow-write",
        type=FOLDER,
        multiple=True,
        metavar="FOLDER",
        help="Repeatable: let the model's own code write there, beside its work folder.",
    ),
]
_DISPLAY = [
    _option("--json", "as_json", is_flag=True, help="Print the report as JSON."),
    _option("--quiet", "-q", is_flag=True, help="No progress, no table."),
    _option("--verbose", "-v", is_flag=True, help="A line with the time of every step."),
]


_GROUPS = {
    "Data": _DATA,
    "Preprocessing": _PREPROCESS,
    "Result": _RESULT,
    "Reference and data": _REFERENCE,
    "Limits": _LIMITS,
    "Display": _DISPLAY,
}


class ConversionCommand(click.Command):
    """A command with everything that `convert` and `quantize` have in common, under headings.

    An option that a command defines itself takes the place of the shared one.
    """

    headings: ClassVar[tuple[str, ...]] = (
        "Data",
        "Preprocessing",
        "Result",
        "Limits",
        "Display",
    )

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.own = [param for param in self.params if isinstance(param, click.Option)]
        names = {option.name for option in self.own}
        self.groups = {
            heading: [option for option in _GROUPS[heading] if option.name not in names]
            for heading in self.headings
        }
        self.params += [option for group in self.groups.values() for option in group]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then the groups."""
        for heading, options in {"Options": self.own, **self.groups}.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [record for option in options if (record := option.get_help_record(ctx))]
                )


class AnalysisCommand(ConversionCommand):
    """A command that looks at a file with data but makes no other file from it."""

    headings: ClassVar[tuple[str, ...]] = ("Data", "Preprocessing", "Limits", "Display")


class ReferenceCommand(ConversionCommand):
    """A command that runs a reference over data of its own, as `REFERENCE_ARGUMENTS` say how."""

    headings: ClassVar[tuple[str, ...]] = (
        "Reference and data",
        "Preprocessing",
        "Limits",
        "Display",
    )


REFERENCE_ARGUMENTS = tuple(option.name for option in _REFERENCE if option.name != "inputs")
"""Options of a `ReferenceCommand` whose values the core takes as they are."""


def request_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The shared options as arguments of `edgekit.pipeline.request.ConversionRequest`.

    Raises:
        UsageError: colours are stated for files that take no raw pixels.
    """
    from dataclasses import fields

    from edgekit.errors import UsageError
    from edgekit.pipeline.request import ConversionRequest

    if options["feed_color"] and not options["fold_preprocess"]:
        raise UsageError(
            "--feed-color says what raw pixels the app feeds to files that all take them.",
            cure="Add --fold-preprocess, or state the model's own order with --color.",
        )
    names = {field.name for field in fields(ConversionRequest)}
    return {
        **{name: value for name, value in options.items() if name in names},
        "feed_color": options["feed_color"] or "RGB",
        "pictures": not options["no_pictures"],
        "preprocess": preprocess_flags(options),
        "limits": limits(options),
    }


def limits(options: dict[str, Any]) -> Limits:
    """What a step may use."""
    from edgekit.toolchain.workshop import Limits

    return Limits(
        seconds=options["step_timeout"],
        memory_gb=options["step_memory"],
        allow_network=options["allow_network"],
        allow_write=options["allow_write"],
    )


def preprocess_flags(options: dict[str, Any]) -> dict[str, Any]:
    """Those preprocessing keys that were given."""
    from dataclasses import fields

    names = [field.name for field in fields(Preprocess)]
    return {name: options[name] for name in names if options[name] is not None}
