"""What the user asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.contract import Color, Task
from edgekit.objects import ObjectOrigin
from edgekit.presets import Preset
from edgekit.results import KeptLayer
from edgekit.toolchain.workshop import Limits
from edgekit.types import Effort, IoDtype, Pass, Scheme, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the engine is told on a rung of the ladder (`edgekit.pipeline.ladder`)."""

    effort: Effort
    ranges: str = "auto"
    kept: tuple[KeptLayer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConversionRequest:
    """All options of ``edgekit convert``; what is unset comes from ``edgekit.toml`` or a default.

    Attributes:
        model: a path, or ``package.module:factory``.
        signature: which function of a SavedModel is converted.
        inputs: ``--input``, parsed; shapes that the model does not tell.
        preprocess: keys of `edgekit.contract.Preprocess` that were given as flags.
        fold_preprocess: the files take raw pixels 0…255 and normalise by themselves: all of them,
            none, or by default those of int8 (`edgekit.pipeline.raw_pixels.fold_for_int8`).
        feed_color: the colours of those pixels where all files take them, as the app feeds them.
        calibration: folder of images, ``.npy``, ``.npz`` or video.
        parity: separate data to compare on; by default a part of ``calibration``.
        samples: at most so many calibration samples.
        accept_few: judge on however few samples there are, see `edgekit.validation.evidence`.
        accept_contract: the contract is meant, whatever `edgekit.pipeline.probe` finds.
        synthetic: use random inputs, and say so in the report.
        schemes: which files to make.
        io_dtype: of ``int8``: which of the all-integer schemes is made in its place.
        effort: how carefully the model is prepared for int8, see `edgekit.types.Effort`.
        ranges: how activation ranges are chosen: auto, minmax, mse, entropy, percentile:99.99.
        without: passes that are left out of the preparation for int8.
        keep_scales: int8 of a model that is quantized already keeps its scales.
        keep_prepared: also write the prepared float model.
        keep_float, keep_int16: operators of the int8 schemes, by the names of their first outputs,
            that compute in float, or with 16-bit activations.
        max_drop, min_sqnr, min_agreement: the accuracy budget of the int8 schemes, see
            `edgekit.pipeline.ladder`; shares from 0 to 1, decibels.
        max_latency: of the int8 schemes, in parts of the time of plain int8: layers get more than 8
            bits as far as that allows.
        allow_float_ops: an int8 file may have operators that compute in float.
        compat: clients in which every file must run and agree, see `edgekit.compat`.
        targets: names or paths of profiles that every file must fit, see `edgekit.targets`.
        route: force this one instead of the first (or fastest) that is right.
        gates: conditions such as ``int8:top1_agreement >= 95%``.
        no_standard_metadata: the files have edgekit's own contract only.
        pictures: the page shows the worst samples.
        force: replace existing outputs.
        threads: for measuring latency.
        settled: what the int8 schemes are made with in the place of climbing to the budget, where a
            replay knows the rung already.
        origin: the object in Python that the model's file was written from.
        preset: what the model's makers wrote down about feeding it, where Python passed it.
    """

    model: str | None = None
    weights: Path | None = None
    trust_pickle: bool = False
    signature: str | None = None
    inputs: tuple[TensorSpec, ...] = ()
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    fold_preprocess: bool | None = None
    feed_color: Color = "RGB"
    task: Task | None = None
    labels: Path | None = None
    calibration: Path | None = None
    parity: Path | None = None
    samples: int | None = None
    parity_samples: int = 64
    accept_few: bool = False
    accept_contract: bool = False
    seed: int = 0
    synthetic: bool = False
    schemes: tuple[Scheme, ...] = ()
    io_dtype: IoDtype | None = None
    effort: Effort = "balanced"
    ranges: str = "auto"
    without: tuple[Pass, ...] = ()
    keep_scales: bool = True
    keep_prepared: bool = False
    keep_float: tuple[str, ...] = ()
    keep_int16: tuple[str, ...] = ()
    max_drop: float | None = None
    min_sqnr: float | None = None
    min_agreement: float | None = None
    max_latency: float | None = None
    allow_float_ops: bool = False
    compat: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    route: str | None = None
    output: Path | None = None
    config: Path | None = None
    gates: tuple[str, ...] = ()
    no_standard_metadata: bool = False
    pictures: bool = True
    force: bool = False
    threads: int = 1
    limits: Limits = field(default_factory=Limits)
    settled: Setting | None = None
    origin: ObjectOrigin | None = None
    preset: Preset | None = None
