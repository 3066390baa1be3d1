"""``edgekit convert``."""

from __future__ import annotations

from typing import Any

import click

from edgekit.cli.options import ConversionCommand, request_arguments
from edgekit.cli.parameters import PATH


@click.command(
    name="convert",
    cls=ConversionCommand,
    epilog="Example: edgekit convert my_package.nets:build --weights weights.pt "
    "--input image:1x3x224x224 --calibration photos/ --scale 1/255",
)
@click.argument("model", required=False)
@click.option("--weights", type=PATH, help="A state dict: .pt, .safetensors or a Lightning .ckpt.")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME:SHAPE[:DTYPE][:LAYOUT]",
    help="Repeatable; needed where the model does not say: image:1x3x224x224. A ? leaves a side "
    "open to the app: image:1x3x?x?",
)
@click.option(
    "--keep-scales/--no-keep-scales",
    default=True,
    help="int8 of a model that is quantized already keeps its scales (the default).",
)
@click.option(
    "--route", help="Force a route, by the converter that ends it; see: edgekit toolchain list"
)
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, which can run any code.")
@click.option("--signature", help="Which function of a SavedModel [serving_default].")
@click.option("--dry-run", is_flag=True, help="Look at the model, print the plan, make nothing.")
def command(inputs: tuple[str, ...], dry_run: bool, **options: Any) -> int:
    """Turn MODEL into .tflite files and prove that each does the model's job.

    MODEL is package.module:factory or file.py:factory (PyTorch), or a file: .pt2, TorchScript .pt,
    .keras, .h5, a SavedModel folder, .onnx, or a float .tflite; or a name: timm:NAME,
    torchvision:NAME, hf:ORG/NAME, keras:NAME, ultralytics:FILE.pt, hub:FOLDER/ENTRY, tfhub:ADDRESS.
    """
    from edgekit.cli.conversion import carry_out
    from edgekit.config import parse_input_flag
    from edgekit.pipeline.request import ConversionRequest

    request = ConversionRequest(
        inputs=tuple(map(parse_input_flag, inputs)), **request_arguments(options)
    )
    return carry_out(request, dry_run=dry_run, options=options)
