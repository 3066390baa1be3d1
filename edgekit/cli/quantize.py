"""``edgekit quantize``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import ConversionCommand, request_arguments
from edgekit.cli.parameters import PATH


@click.command(
    name="quantize",
    cls=ConversionCommand,
    epilog="Example: edgekit quantize model_fp32.tflite --calibration photos/ --scheme int8",
)
@click.argument("file", type=PATH)
@click.option("--dry-run", is_flag=True, help="Look at the model, print the plan, make nothing.")
def command(file: Path, dry_run: bool, **options: Any) -> int:
    """Quantize a float .tflite FILE (default: int8) and compare the result with it."""
    from edgekit.cli.conversion import carry_out
    from edgekit.errors import UsageError
    from edgekit.pipeline.request import ConversionRequest

    if file.suffix.lower() != ".tflite":
        raise UsageError(f"{file} is not a .tflite file.", cure=f"edgekit convert {file}")
    options["schemes"] = options["schemes"] or ("int8",)
    request = ConversionRequest(model=str(file), **request_arguments(options))
    return carry_out(request, dry_run=dry_run, options=options)
