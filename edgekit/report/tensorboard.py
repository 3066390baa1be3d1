"""A validation for TensorBoard: scalars, histograms and pictures, one run for each candidate.

A validation has no steps, so everything is at step 0. Records are written through TensorBoard's own
writer and messages; TensorFlow is not imported.
"""

from __future__ import annotations

import math
import re
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SetupError
from edgekit.report.thumbnails import Thumbnail, thumbnail
from edgekit.report.words import clean, number
from edgekit.runners.protocol import Timing
from edgekit.validation_result import CandidateResult, Figure, ValidationResult, WorstSample

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

MOST_PICTURES = 16
_BUCKETS = 60
_OURS = ".edgekit"
_COLORS = 3
"""RGB, as TensorBoard numbers colour spaces."""


def write_tensorboard(
    result: ValidationResult, folder: Path, *, pictures: bool = True
) -> tuple[Path, ...]:
    """Write a run for the reference and for each candidate into folders below ``folder``.

    Files that an earlier call wrote for the same run are replaced, so that no figure stands there
    twice; others' files stay.

    Args:
        result: what to write.
        folder: what ``tensorboard --logdir`` gets; it is made where it is missing.
        pictures: whether the worst samples are written too.

    Returns:
        The files, that of the reference first.

    Raises:
        SetupError: the ``tensorboard`` package is not installed, or the folder cannot be written.
    """
    require()
    reference = _timing(result.reference.timing) + _figures(result.reference.figures)
    runs = {"reference": reference}
    for one in result.candidates:
        runs[_run_name(one.name, runs)] = _candidate(one, pictures=pictures)
    return _write_all(runs, folder)


def write_hparams(
    trials: Mapping[str, tuple[Mapping[str, str], Mapping[str, float]]], folder: Path
) -> tuple[Path, ...]:
    """Write a run for each trial, for TensorBoard's HParams: what was chosen, and figures.

    Args:
        trials: by name the choices and the figures, which may differ from trial to trial.
        folder: as of `write_tensorboard`; what an earlier call wrote there is replaced.

    Returns:
        The files, in the order of the trials.

    Raises:
        SetupError: the ``tensorboard`` package is not installed, or the folder cannot be written.
    """
    require()
    from tensorboard.plugins.hparams import summary_v2

    runs: dict[str, Sequence[Summary.Value]] = {}
    for name, (choices, figures) in trials.items():
        told = summary_v2.hparams_pb(dict(choices), trial_id=name, start_time_secs=0)
        values = [_scalar(f"metrics/{key}", value) for key, value in figures.items()]
        runs[_run_name(name, runs)] = [*told.value, *values]
    return _write_all(runs, folder)


def _write_all(runs: Mapping[str, Sequence[Summary.Value]], folder: Path) -> tuple[Path, ...]:
    try:
        return tuple(_write(folder / name, values) for name, values in runs.items())
    except OSError as error:
        raise SetupError(
            f"TensorBoard's files cannot be written to {folder}: {error}",
            cure="Name another folder, or free space.",
        ) from error


def require() -> None:
    """Make sure, before long work, that events can be written.

    Raises:
        SetupError: the ``tensorboard`` package is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise SetupError(
            "TensorBoard's files need the tensorboard package, which is not installed.",
            cure="pip install 'edgekit-tflite[tensorboard]'",
        ) from error


def _run_name(name: str, taken: Collection[str]) -> str:
    """A folder's name: no path, nothing hidden, none twice."""
    plain = re.sub(r"[^\w .,+=-]", "_", clean(name, 80)).strip(" .") or "candidate"
    unique, count = plain, 1
    while unique in taken:
        count += 1
        unique = f"{plain}-{count}"
    return unique


def _candidate(one: CandidateResult, *, pictures: bool) -> list[Summary.Value]:
    """What is known of a candidate."""
    values = [_scalar(f"metrics/{name}", value) for name, value in one.metrics.items()]
    values += _figures(one.figures) + _timing(one.timing)
    values.append(_scalar("file/size_mb", one.size_bytes / 1e6))
    values.append(_scalar("verdict/passed", float(one.verdict.passed and not one.error)))
    for output in one.parity.outputs if one.parity else ():
        values += _histogram(f"sqnr_db/{output.name}", output.per_sample_sqnr_db)
    if pictures:
        for rank, sample in enumerate(one.worst[:MOST_PICTURES], 1):
            shown = None if sample.path is None else thumbnail(sample.path)
            if shown is not None:
                values.append(_picture(f"worst/{rank:02}", sample, shown))
    return values


def _figures(figures: Sequence[Figure]) -> list[Summary.Value]:
    values = []
    for each in figures:
        values.append(_scalar(f"task/{each.name}", each.value))
        if each.interval is not None:
            values.append(_scalar(f"task/{each.name}/low", each.interval.low))
            values.append(_scalar(f"task/{each.name}/high", each.interval.high))
    return values


def _timing(timing: Timing | None) -> list[Summary.Value]:
    if timing is None or not timing.latency.samples_ms:
        return []
    latency = timing.latency
    values = [
        _scalar(f"latency/p{percent}_ms", latency.percentile(percent)) for percent in (50, 90, 99)
    ]
    values += [
        _scalar("latency/first_ms", latency.first_ms),
        _scalar("latency/load_ms", latency.load_ms),
    ]
    for name, known in (("peak", timing.peak_memory_mb), ("arena", timing.arena_mb)):
        if known is not None:
            values.append(_scalar(f"memory/{name}_mb", known))
    return values + _histogram("latency_ms", latency.samples_ms)


# -------------------------------------------------------------------- TensorBoard's messages


def _scalar(tag: str, value: float) -> Summary.Value:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary.Value(tag=clean(tag), simple_value=value)


def _histogram(tag: str, values: Sequence[float]) -> list[Summary.Value]:
    """A histogram of the finite values; none where there is no such value."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    finite = [value for value in values if math.isfinite(value)]
    return [Summary.Value(tag=clean(tag), histo=_counts(finite))] if finite else []


def _counts(values: Sequence[float]) -> HistogramProto:
    import numpy as np
    from tensorboard.compat.proto.summary_pb2 import HistogramProto

    array = np.asarray(values, float)
    counts, edges = np.histogram(array, _BUCKETS)
    return HistogramProto(
        min=float(array.min()),
        max=float(array.max()),
        num=len(array),
        sum=float(array.sum()),
        sum_squares=float(array @ array),
        # A bucket ends at its limit: the first is empty and ends where the values begin.
        bucket_limit=edges.tolist(),
        bucket=[0.0, *counts.astype(float).tolist()],
    )


def _picture(tag: str, sample: WorstSample, shown: Thumbnail) -> Summary.Value:
    """A sample with what both models say about it as its description."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

    said = {
        sample.id: number("sqnr_db", sample.sqnr_db),
        "truth": sample.label,
        "reference": sample.reference,
        "candidate": sample.candidate,
    }
    words = "; ".join(f"{who}: {what}" for who, what in said.items() if what)
    image = Summary.Image(
        encoded_image_string=shown.data,
        width=shown.width,
        height=shown.height,
        colorspace=_COLORS,
    )
    about = SummaryMetadata(summary_description=clean(words))
    return Summary.Value(tag=tag, image=image, metadata=about)


def _write(folder: Path, values: Sequence[Summary.Value]) -> Path:
    """Write values into a new file, then remove those of an earlier call."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True, exist_ok=True)
    earlier = list(folder.glob(f"events.out.tfevents.*{_OURS}"))
    now = time.time()
    path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}{_OURS}"
    with path.open("wb") as file:
        records = RecordWriter(file)
        records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        event = Event(wall_time=now, step=0, summary=Summary(value=values))
        records.write(event.SerializeToString())
    for old in earlier:
        old.unlink(missing_ok=True)
    return path
