"""Calibration and parity data: sources, sampling, checks, and the files that they become."""

from edgekit.calibration.load import load
from edgekit.calibration.samples import (
    Dataset,
    Sample,
    SampleSet,
    Source,
    stack_shape,
    take,
)
from edgekit.calibration.sampling import DataSplit, split
from edgekit.calibration.sources import open_source
from edgekit.calibration.synthetic import synthetic

__all__ = [
    "DataSplit",
    "Dataset",
    "Sample",
    "SampleSet",
    "Source",
    "load",
    "open_source",
    "split",
    "stack_shape",
    "synthetic",
    "take",
]
