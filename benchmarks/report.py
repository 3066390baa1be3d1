"""What the HTML report costs: seconds to write, bytes, and memory, for large results.

    python benchmarks/report.py --candidates 4 --samples 5000

The result is made up, and hard on the report: every candidate has its own worst samples, each of
them a photograph of 12 megapixels, full of noise. The first time includes importing Matplotlib, as
a user has it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edgekit.report.validation import to_html
from edgekit.runners.protocol import OperatorTime, Timing
from edgekit.types import (
    Gate,
    GateResult,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    Verdict,
)
from edgekit.validation_result import (
    CandidateResult,
    Figure,
    LayerSqnr,
    ReferenceResult,
    ValidationData,
    ValidationResult,
    WorstSample,
)

MOST_SECONDS, MOST_BYTES = 5.0, 3_000_000
PICTURES, LAYERS = 32, 150


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--samples", type=int, default=5000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = photographs(Path(folder))
        names = [f"candidate {number}" for number in range(options.candidates)]
        result = made_up(names, options.samples, pictures)
        layers = tuple(
            LayerSqnr(
                candidate=name,
                name=f"layer {at}",
                operator="CONV_2D",
                sqnr_db=60 - at / 4,
                added_db=65 - at / 4,
            )
            for name in names
            for at in range(LAYERS)
        )
        rows = [measure(replace(result, layers=layers)) for _ in range(3)]
    print(f"{options.candidates} candidates, {options.samples} samples, {len(pictures)} pictures")
    for title, (seconds, size) in zip(("first", "second", "third"), rows, strict=True):
        print(f"{title:8} {seconds:6.2f} s {size / 1e6:6.2f} MB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if _is_mac() else 1024)
    print(f"peak resident memory of the process {peak:.0f} MiB")
    return 0 if rows[0][0] < MOST_SECONDS and rows[0][1] < MOST_BYTES else 1


def measure(result: ValidationResult) -> tuple[float, int]:
    """Seconds and bytes of one page."""
    start = time.perf_counter()
    page = to_html(result)
    return time.perf_counter() - start, len(page.encode())


def photographs(folder: Path) -> list[Path]:
    """Large JPEG files whose thumbnails compress badly."""
    noise = np.random.default_rng(0).integers(0, 255, (192, 256, 3), np.uint8)
    first = folder / "0.jpg"
    cv2.imwrite(str(first), cv2.resize(noise, (4000, 3000), interpolation=cv2.INTER_NEAREST))
    paths = [folder / f"{number}.jpg" for number in range(PICTURES)]
    for path in paths[1:]:
        path.write_bytes(first.read_bytes())
    return paths


def made_up(names: list[str], samples: int, pictures: list[Path]) -> ValidationResult:
    """A classifier's result with everything that a page shows."""
    return ValidationResult(
        title="A large result",
        reference=ReferenceResult(name="model", kind="torch", device="CPU"),
        data=ValidationData(path="/data", layout="class folders", samples=samples, digest="0" * 64),
        candidates=tuple(
            _candidate(name, place, samples, pictures[place :: len(names)])
            for place, name in enumerate(names)
        ),
        environment={"system": sys.platform},
        command="edgekit validate",
        seconds=1.0,
    )


def _candidate(name: str, seed: int, samples: int, pictures: list[Path]) -> CandidateResult:
    random = np.random.default_rng(seed)
    drop, interval = 0.004, Interval(low=0.001, high=0.007)
    gate = Gate(metric="top1_drop", comparison="<=", limit=0.01)
    pairs = [{"reference": at, "candidate": at + 1, "count": 20 - at} for at in range(20)]
    sqnr = random.normal(22, 3, samples)
    return CandidateResult(
        name=name,
        path=Path(f"/models/{name}.tflite"),
        sha256="0" * 64,
        size_bytes=5_000_000,
        scheme="int8",
        parity=ParityReport(
            reference="model",
            candidate=name,
            data="0" * 64,
            samples=samples,
            outputs=(
                OutputParity(
                    name="logits", worst_sample="0", worst_sqnr_db=float(sqnr.min()), sqnr_db=22.0,
                    cosine=0.99, max_abs=1.0, mean_abs=0.1, per_sample_sqnr_db=tuple(sqnr.tolist()),
                ),
            ),
        ),
        figures=(
            Figure(name="top1_accuracy", value=0.75, interval=Interval(low=0.74, high=0.76)),
            Figure(name="top1_drop", value=drop, interval=interval),
        ),
        details={"flips": {"count": 210, "pairs": pairs}},
        timing=Timing(
            latency=LatencyReport(
                samples_ms=tuple((5 + seed + random.lognormal(0, 0.5, samples)).tolist()),
                threads=1, load_ms=20.0, first_ms=12.0,
            ),
            operators=tuple(
                OperatorTime(operator=f"OPERATOR_{at}", count=at, ms=0.1, share=0.05)
                for at in range(20)
            ),
        ),
        worst=tuple(
            WorstSample(id=str(path), path=path, sqnr_db=5.0 + at, reference="a", candidate="b")
            for at, path in enumerate(pictures)
        ),
        verdict=Verdict(gates=(GateResult(gate=gate, state="pass", measured=drop),)),
    )  # fmt: skip


def _is_mac() -> bool:
    return sys.platform == "darwin"


if __name__ == "__main__":
    sys.exit(main())
