"""Validation results as a run makes them, with figures drawn from a fixed seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.contract import Contract, Decoder, OutputContract
from edgekit.runners.protocol import OperatorTime, Timing
from edgekit.types import (
    Gate,
    GateResult,
    Interval,
    LatencyReport,
    OutputParity,
    ParityReport,
    Scheme,
    TensorSpec,
    Verdict,
)
from edgekit.validation_result import (
    CandidateResult,
    Diagnosis,
    Figure,
    LayerSqnr,
    ReferenceResult,
    TensorDrift,
    ValidationData,
    ValidationResult,
    WorstSample,
)

ANIMALS = ("tench", "goldfish", "great white shark", "tiger shark", "hammerhead", "electric ray",
           "stingray", "cock", "hen", "ostrich", "brambling", "goldfinch")  # fmt: skip


def interval(value: float, margin: float) -> Interval:
    return Interval(low=value - margin, high=value + margin, method="paired bootstrap")


def timing(p50: float, *, seed: int, count: int = 500) -> Timing:
    noise = np.random.default_rng(seed).lognormal(-2.5, 0.9, count)
    parts = (("CONV_2D", 35, 0.62), ("DEPTHWISE_CONV_2D", 17, 0.23), ("ADD", 10, 0.05),
             ("FULLY_CONNECTED", 1, 0.04), ("AVERAGE_POOL_2D", 1, 0.01))  # fmt: skip
    return Timing(
        latency=LatencyReport(
            samples_ms=tuple((p50 * (0.92 + noise)).tolist()),
            threads=1,
            load_ms=21.3,
            first_ms=p50 * 2.7,
            warmup=10,
        ),
        peak_memory_mb=41.5,
        arena_mb=6.2,
        operators=tuple(
            OperatorTime(operator=name, count=n, ms=p50 * share, share=share, delegate="XNNPACK")
            for name, n, share in parts
        ),
    )


def parity(name: str, db: float, samples: int, *, seed: int) -> ParityReport:
    values = np.random.default_rng(seed).normal(db, 2.2, samples)
    return ParityReport(
        reference="lite0",
        candidate=name,
        data="sha256:" + "d" * 64,
        samples=samples,
        outputs=(
            OutputParity(
                name="logits",
                worst_sample="0017",
                worst_sqnr_db=float(values.min()),
                sqnr_db=db,
                cosine=0.997,
                max_abs=1.2,
                mean_abs=0.08,
                per_sample_sqnr_db=tuple(values.tolist()),
                top1_agreement=0.94,
            ),
        ),
    )


def gate(metric: str, sign: Any, limit: float, state: Any, measured: float | None = None,
         **more: Any) -> GateResult:  # fmt: skip
    return GateResult(
        gate=Gate(metric=metric, comparison=sign, limit=limit, bound=more.pop("bound", None)),
        state=state,
        measured=measured,
        **more,
    )


def worst(pictures: Sequence[Path | None], db: float, *, first: int = 0) -> tuple[WorstSample, ...]:
    return tuple(
        WorstSample(
            id=path.name if path else f"sample {number}",
            path=path,
            sqnr_db=db + number,
            label=ANIMALS[number % 12],
            reference=f"{ANIMALS[number % 12]} 0.81, {ANIMALS[(number + 1) % 12]} 0.07",
            candidate=f"{ANIMALS[(number + 3) % 12]} 0.44, {ANIMALS[number % 12]} 0.31",
        )
        for number, path in enumerate(pictures, first)
    )


def classifier_candidate(
    name: str,
    scheme: Scheme,
    *,
    drop: float,
    db: float,
    ms: float,
    size: int,
    samples: int = 5000,
    pictures: Sequence[Path | None] = (None,) * 8,
    seed: int = 0,
) -> CandidateResult:
    margin = 0.003
    agreement = 1 - 2.5 * abs(drop) - 0.01
    state = "pass" if drop <= 0.01 else "fail"
    times = timing(ms, seed=seed)
    p90 = times.latency.percentile(90)
    return CandidateResult(
        name=name,
        path=Path(f"/home/me/models/{name}.tflite"),
        sha256="ab" * 32,
        size_bytes=size,
        scheme=scheme,
        contract=Contract(
            outputs=(
                OutputContract(
                    tensor=TensorSpec(name="logits", shape=(1, 12)),
                    task="classification",
                    labels=ANIMALS,
                ),
            )
        ),
        parity=parity(name, db, samples, seed=seed),
        figures=(
            Figure(
                name="top1_accuracy",
                value=0.751 - drop,
                interval=interval(0.751 - drop, 0.012),
                reference=0.751,
                samples=samples,
            ),
            Figure(name="top1_drop", value=drop, interval=interval(drop, margin), samples=samples),
            Figure(
                name="top1_agreement",
                value=agreement,
                interval=interval(agreement, 0.006),
                samples=samples,
            ),
            Figure(name="ece", value=0.031, interval=interval(0.031, 0.005), samples=samples),
        ),
        details={
            "flips": {
                "count": 312,
                "right_to_wrong": 141,
                "wrong_to_right": 121,
                "wrong_to_wrong": 50,
                "pairs": [
                    {"reference": a, "candidate": b, "count": count}
                    for a, b, count in (
                        (2, 3, 71),
                        (3, 2, 64),
                        (7, 8, 40),
                        (5, 6, 22),
                        (10, 11, 9),
                        (1, -1, 1),
                    )
                ],
            },
            "mcnemar": {
                "only_reference": 141,
                "only_candidate": 121,
                "p_value": 0.24,
                "exact": False,
            },
        },
        timing=times,
        worst=worst(pictures, db - 12, first=seed),
        drift=(
            TensorDrift(name="image", calibrated=(-2.118, 2.64), seen=(-2.118, 2.64), clipped=0.0),
            TensorDrift(name="logits", calibrated=(-5.1, 14.2), seen=(-6.8, 19.9), clipped=0.021),
        ),
        integer_share=1.0 if scheme == "int8" else 0.0,
        metrics={"sqnr_db": db, "worst_sqnr_db": db - 12},
        verdict=Verdict(
            gates=(
                gate("sqnr_db", ">=", 10, "pass", db),
                gate("top1_drop", "<=", 0.01, state, drop, interval=interval(drop, margin)),
                gate("latency_p90_ms", "<=", 12, "pass" if p90 <= 12 else "fail", p90),
                gate("map_drop", "<=", 0.01, "not measured", why="nothing to measure it on"),
            )
        ),
    )


def classifier(
    *, samples: int = 5000, pictures: Sequence[Path | None] = (None,) * 8
) -> ValidationResult:
    """Four files of a classifier, with labels: two may ship."""
    rows: tuple[tuple[str, Scheme, float, float, float, int], ...] = (
        ("fp32", "fp32", 0.0, 113.0, 9.6, 18_600_000),
        ("int8", "int8", 0.004, 22.3, 5.4, 4_930_000),
        ("int8, no preparation", "int8", 0.031, 15.4, 5.5, 4_930_000),
        ("int16x8", "int16x8", 0.002, 27.0, 237.0, 5_010_000),
    )
    return ValidationResult(
        title="EfficientNet-Lite0 on ImageNet photographs",
        reference=ReferenceResult(
            name="lite0:build",
            kind="torch",
            device="NVIDIA H200",
            digest="cd" * 32,
            versions={"torch": "2.13.0"},
            timing=timing(2.1, seed=99),
            figures=(Figure(name="top1_accuracy", value=0.751, samples=samples),),
        ),
        data=ValidationData(
            path="/data/imagenet/val",
            layout="class folders",
            samples=samples,
            digest="ef" * 32,
            labelled=samples,
            skipped=("n01440764/broken.jpg",),
        ),
        candidates=tuple(
            classifier_candidate(
                name,
                scheme,
                drop=drop,
                db=db,
                ms=ms,
                size=size,
                samples=samples,
                pictures=pictures,
                seed=seed,
            )
            for seed, (name, scheme, drop, db, ms, size) in enumerate(rows)
        ),
        environment={"system": "Linux 6.1", "cpu": "Intel Xeon, 2 cores", "edgekit": "0.1"},
        command="edgekit validate int8.tflite --reference lite0:build --data /data/imagenet/val",
        seconds=412.0,
    )


def diagnosed(result: ValidationResult) -> ValidationResult:
    """The same with the reason why the last candidate is wrong."""
    *others, last = result.candidates
    diagnosis = Diagnosis(
        finding="The first bad operator is features.30.conv (CONV_2D): range-too-wide.",
        why="3 of 240 channels fill it.",
        advice="Take outliers out of the calibration data.",
    )
    return replace(result, candidates=(*others, replace(last, diagnosis=diagnosis)))


def layers(candidate: str, *, count: int = 60, db: float = 22.0) -> list[LayerSqnr]:
    """A chain that gets worse, with one layer that goes wrong."""
    found = []
    for number in range(count):
        fall = 9.0 if number == 30 else 0.0
        level = db + 25 - 0.4 * number - (9.0 if number > 30 else 0.0) - fall
        found.append(
            LayerSqnr(
                candidate=candidate,
                name=f"features.{number}.conv",
                operator="CONV_2D",
                sqnr_db=level,
                added_db=level - 5 if fall else level + 12,
                cause="the range is too wide: 3 of 240 channels fill it" if fall else "",
            )
        )
    return found


def detector(*, samples: int = 128) -> ValidationResult:
    """One file of a detector, without labels."""
    base = classifier(samples=samples)
    value = 0.912
    one = replace(
        base.candidates[1],
        name="yolo_int8",
        contract=Contract(
            outputs=(
                OutputContract(
                    tensor=TensorSpec(name="boxes", shape=(1, 84, 2100)),
                    task="detection",
                    decoder=Decoder(format="yolov8"),
                ),
            )
        ),
        figures=(
            Figure(
                name="map_50_agreement",
                value=value,
                interval=interval(value, 0.02),
                samples=samples,
            ),
        ),
        details={
            "reference_ap_by_class": {0: 0.61, 16: 0.48},
            "candidate_ap_by_class": {0: 0.60, 16: 0.31},
        },
        verdict=Verdict(
            gates=(
                gate("map_drop", "<=", 0.01, "not measured", why="nothing to measure it on"),
                gate("map_50_agreement", ">=", 0.8, "pass", value, interval=interval(value, 0.02)),
            )
        ),
    )
    return replace(
        base,
        title="YOLO on street scenes",
        data=replace(base.data, labelled=0, layout="pictures", skipped=()),
        candidates=(one,),
    )


def failed(name: str = "broken") -> CandidateResult:
    """A candidate of which nothing is known but that it does not run."""
    return CandidateResult(
        name=name,
        path=Path(f"/home/me/models/{name}.tflite"),
        sha256="",
        size_bytes=0,
        error="The runtime crashed with signal 11 while it loaded the model.",
    )


def single_sample() -> ValidationResult:
    """A run on one sample: no intervals, one timed inference."""
    base = classifier(samples=1)
    one = base.candidates[1]
    assert one.timing is not None
    return replace(
        base,
        candidates=(
            replace(
                one,
                figures=tuple(replace(figure, interval=None, samples=1) for figure in one.figures),
                timing=replace(one.timing, latency=replace(one.timing.latency, samples_ms=(5.4,))),
                verdict=Verdict(
                    gates=tuple(replace(result, interval=None) for result in one.verdict.gates)
                ),
            ),
        ),
    )
