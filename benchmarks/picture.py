"""The verdict of a conversion as a picture (SVG), from the report that `edgekit convert` wrote.

    python benchmarks/picture.py build/demo/edgekit-report.json docs/verdict.svg

``--without-times`` leaves out seconds and milliseconds, which say little of a busy machine.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from edgekit.cli.conversion import verdict_table
from edgekit.plain import from_plain
from edgekit.results import FileResult

_WIDTH = 72
_FONTS = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
"""What rich loads from elsewhere; the fonts of the reader do."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--without-times", action="store_true")
    arguments = parser.parse_args()
    report = json.loads(arguments.report.read_text(encoding="utf-8"))
    name = report["source"]["name"]
    files = [from_plain(FileResult, file) for file in report["files"]]
    title = f"{name}: files against the framework"
    if arguments.without_times:
        files = [_without_times(file) for file in files]
    else:
        title += f", {report['seconds']:.0f} s"
    console = Console(record=True, file=io.StringIO(), width=_WIDTH, color_system="truecolor")
    console.print(verdict_table(title, files))
    data = report["data"]
    console.print(
        f"Data     {data['calibration_samples']} samples for calibration, "
        f"{data['parity_samples']} for comparing"
    )
    svg = console.export_svg(
        title=f"edgekit convert {name}",
        code_format=_FONTS.sub("", CONSOLE_SVG_FORMAT),
        unique_id="verdict",
    )
    arguments.picture.write_text(svg, encoding="utf-8")


def _without_times(file: FileResult) -> FileResult:
    kept = {name: value for name, value in file.metrics.items() if "latency" not in name}
    return dataclasses.replace(file, metrics=kept)


if __name__ == "__main__":
    main()
