"""What generated modules cost: the wrapper's own time, and how long their code is.

    python benchmarks/embed.py MODEL.tflite … [--samples photos/] [--repeats 2000]

For every model the C++ module is written, built by CMake without sanitizers, tested, and timed on a
picture of 480×360: the median of single calls on one core, without inference. The lines of every
target are counted as `edgekit embed` counts them: code of the wrapper, without blank lines,
comments, tests and data. A target that cannot run a model has no number.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

import ai_edge_litert
import cv2

import edgekit
from edgekit.embed import target_names
from edgekit.errors import UsageError

_LITERT = Path(ai_edge_litert.__file__).with_name("libLiteRt.so")
_PICTURES = Path(__file__).parents[1] / "calibration_data"
_SIZE = 480, 360  # golden pictures are not larger than that for inputs up to 240


def main() -> None:
    """Print one table of times, one of lines."""
    parser = argparse.ArgumentParser(description="What generated modules cost.")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--samples", type=Path, default=_PICTURES)
    parser.add_argument("--repeats", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = _photos(arguments.samples, work / "photos")
        print("| model | picture | preprocessing | decoding | own time |")
        print("|---|---|---|---|---|")
        for model in arguments.models:
            print(_times(model, photos, work, arguments.repeats))
        print("\n| model | " + " | ".join(target_names()) + " |")
        print("|---|" + "---|" * len(target_names()))
        for model in arguments.models:
            print(_lines(model, photos, work))


def _photos(source: Path, folder: Path) -> Path:
    """Three pictures, none of them square."""
    folder.mkdir()
    for path in sorted(source.glob("*.jpg"))[:3]:
        picture = cv2.resize(cv2.imread(str(path)), _SIZE, interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{path.stem}.png"), picture)
    return folder


def _times(model: Path, photos: Path, work: Path, repeats: int) -> str:
    module, build = work / model.stem, work / f"{model.stem}-build"
    edgekit.embed(model, target="cpp", output=module, samples=photos)
    _run("cmake", "-S", module, "-B", build, f"-DLITERT_LIBRARY={_LITERT}")
    _run("cmake", "--build", build)
    (file,) = (module / "model").glob("*.tflite")
    told = _run(build / "golden_test", file, module / "test" / "golden", repeats)
    found = re.search(r"preprocessing ([\d.]+) ms, decoding ([\d.]+) ms .*picture (.*)\)", told)
    if found is None:
        raise SystemExit(f"{model}: {told}")
    before, after = float(found[1]), float(found[2])
    cells = (
        model.stem,
        found[3],
        f"{before:.3f} ms",
        f"{after:.3f} ms",
        f"{before + after:.3f} ms",
    )
    return f"| {' | '.join(cells)} |"


def _lines(model: Path, photos: Path, work: Path) -> str:
    counts = []
    for target in target_names():
        output = work / f"{model.stem}-{target}"
        try:
            made = edgekit.embed(model, target=target, output=output, samples=photos)
            counts.append(str(made.wrapper_lines))
        except UsageError:
            counts.append("–")
    return f"| {model.stem} | {' | '.join(counts)} |"


def _run(*words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, check=True, timeout=600
    )
    return done.stdout


if __name__ == "__main__":
    main()
