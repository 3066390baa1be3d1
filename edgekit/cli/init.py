"""``edgekit init``: a first ``edgekit.toml``."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path

import click

from edgekit.cli.parameters import PATH
from edgekit.cli.terminal import echo, print_next


@click.command(
    name="init",
    epilog="Example: edgekit init detector.onnx photos/",
)
@click.argument("model")
@click.argument("data", type=PATH, required=False)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    help="Repeatable; needed where the model does not say: image:1x3x224x224",
)
@click.option("--weights", type=PATH, help="The state dict of a PyTorch factory.")
@click.option("--trust-pickle", is_flag=True, help="Open a pickle, which can run any code.")
@click.option(
    "--output", "-o", type=PATH, default="edgekit.toml", help="The file.", show_default=True
)
@click.option("--force", is_flag=True, help="Replace the file.")
def command(
    model: str,
    data: Path | None,
    inputs: tuple[str, ...],
    weights: Path | None,
    trust_pickle: bool,
    output: Path,
    force: bool,
) -> int:
    """Write an edgekit.toml for MODEL, with what the model and its notes tell, and comments.

    Each value says where it comes from. DATA are inputs that the model will really see.
    """
    from edgekit.config import parse_input_flag
    from edgekit.errors import DataError, UsageError
    from edgekit.files import kind_of, shown
    from edgekit.pipeline.first_config import first_config
    from edgekit.pipeline.inspection import inspect_source
    from edgekit.pipeline.publish import write_whole

    if output.suffix != ".toml":
        raise UsageError(f"{output} is not a .toml file.", cure="For example -o edgekit.toml")
    if kind_of(output) != "none" and not force:
        raise UsageError(f"{output} exists.", cure="Add --force to replace it, or give another -o.")
    if model.lower().endswith(".tflite"):
        raise UsageError(
            f"{model} is a .tflite file already.", cure=f"edgekit inspect {shlex.quote(model)}"
        )
    if data is not None and kind_of(data) not in ("file", "folder"):
        raise DataError(f"There is no file or folder {shown(data)}.", cure="Check the path.")
    stated = tuple(map(parse_input_flag, inputs))
    summary = inspect_source(model, weights=weights, inputs=stated, trust_pickle=trust_pickle)

    def beside(path: Path) -> Path:
        """As the file names it: from the folder that it is in."""
        return Path(os.path.relpath(path, output.parent))

    if kind_of(Path(model)) != "none":
        summary = replace(summary, path=str(beside(Path(model))))
    text = first_config(
        summary,
        data=beside(data) if data else None,
        weights=beside(weights) if weights else None,
        inputs=stated,
    )
    write_whole(output, text)
    where = "" if output == Path("edgekit.toml") else f" --config {shlex.quote(str(output))}"
    more = "" if data else " --calibration FOLDER"
    echo(f"Wrote {output}: look through it.")
    print_next(f"edgekit convert{where}{more}")
    return 0
