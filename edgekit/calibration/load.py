"""The way into this package: data on disk → `Dataset` for a model."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from edgekit.calibration.checks import Checks, Facts, examine, listing
from edgekit.calibration.samples import Dataset, Sample, SampleSet, Source
from edgekit.calibration.sampling import split
from edgekit.calibration.sources import open_source
from edgekit.calibration.tensors import Loaded, to_tensors
from edgekit.calibration.writer import SetWriter
from edgekit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from edgekit.contract import Contract
    from edgekit.types import Progress

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def load(
    path: Path,
    contract: Contract,
    *,
    folder: Path,
    calibration_samples: int = 128,
    parity_samples: int = 64,
    seed: int = 0,
    parity_path: Path | None = None,
    progress: Progress,
) -> Dataset:
    """Choose, preprocess, check and write the samples for a model.

    The tensors go to ``folder/calibration`` and ``folder/parity``, one ``.npy`` per input (see
    `stack_shape`), a sample at a time: memory does not grow with the data. Tells ``progress`` how
    far it is, but the notes are only in the result.

    Args:
        path: what `open_source` takes.
        contract: the model's inputs, all static.
        folder: where the tensors go; made if it does not exist.
        calibration_samples: at most so many to calibrate with.
        parity_samples: at most so many to measure with.
        seed: decides which ones.
        parity_path: separate data to measure with, also what `open_source` takes.

    Raises:
        DataError: the data is missing, damaged, or does not fit the model.
        UsageError: the contract or a number makes no sense.
    """
    source = open_source(path)
    parity_source = open_source(parity_path) if parity_path is not None else None
    chosen = split(
        source,
        calibration_samples=calibration_samples,
        parity_samples=parity_samples,
        seed=seed,
        parity_source=parity_source,
    )
    total = len(chosen.calibration) + len(chosen.parity)
    done = 0

    def told(samples: Iterable[Sample]) -> Iterator[Sample]:
        nonlocal done
        for sample in samples:
            progress.update(done / total, sample.id)
            done += 1
            yield sample

    checks = Checks("calibration")
    calibration = _write(
        told(chosen.calibration), contract, folder / "calibration", checks, source.parallel
    )
    notes = source.notes + chosen.notes + checks.finish(contract)
    parity_checks = Checks("parity", known=() if chosen.overlap else checks.digests)
    parallel = (parity_source or source).parallel
    parity = _write(told(chosen.parity), contract, folder / "parity", parity_checks, parallel)
    notes += (parity_source.notes if parity_source else ()) + parity_checks.finish(contract)
    skipped = tuple(dict.fromkeys(checks.skipped + parity_checks.skipped))
    if len(skipped) * 10 > total:
        raise DataError(
            f"{len(skipped)} of {total} samples could not be read: {listing(skipped)}.",
            cure="Replace or remove the damaged files.",
        )
    progress.update(1.0)
    return Dataset(
        calibration=calibration,
        parity=parity,
        seed=seed,
        notes=tuple(dict.fromkeys(notes)),
        skipped=skipped,
        classes=_names((source, *([parity_source] if parity_source else ()))),
    )


def _names(sources: Iterable[Source]) -> tuple[str, ...]:
    """All names that label samples."""
    labels = (sample.label for source in sources for sample in source.samples)
    return tuple(sorted({label for label in labels if isinstance(label, str)}))


def _write(
    samples: Iterable[Sample], contract: Contract, folder: Path, checks: Checks, parallel: bool
) -> SampleSet:
    def prepare(sample: Sample) -> tuple[Sample, Loaded, Facts] | Sample:
        try:
            content = sample.read()
        except DataError:  # unreadable: skipped; what does not fit the model is no such case
            return sample
        loaded = to_tensors(content, contract, sample.id)
        return sample, loaded, examine(loaded, sample.id)

    workers = min(4, os.cpu_count() or 1) if parallel else 1
    with SetWriter(folder, contract) as writer:
        for prepared in _in_order(prepare, samples, workers):
            if isinstance(prepared, Sample):
                checks.skip(prepared.id)
                continue
            sample, loaded, facts = prepared
            if checks.accept(sample.id, facts):
                writer.append(
                    loaded.tensors, sample.id, sample.label, facts.digest, loaded.pictures
                )
    return writer.result()


def _in_order(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Iterator[_Result]:
    """Like ``map`` in threads, but never more than two results per worker are waiting.

    OpenCV and hashlib let go of the interpreter lock, so threads do help.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="edgekit-data") as pool:
        waiting: deque[Future[_Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
