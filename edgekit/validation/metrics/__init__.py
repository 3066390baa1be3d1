"""Task metrics: one protocol (`protocol.Metric`), a module for each task."""

from edgekit.validation.metrics.classification import Classification
from edgekit.validation.metrics.detection import Detection
from edgekit.validation.metrics.embedding import Embedding
from edgekit.validation.metrics.image import ImageQuality
from edgekit.validation.metrics.protocol import (
    Batch,
    Metric,
    Rows,
    Score,
    Settings,
    Summary,
    Tally,
)
from edgekit.validation.metrics.regression import Regression
from edgekit.validation.metrics.segmentation import Segmentation
from edgekit.validation.metrics.user import UserMetric, load_metric

__all__ = [
    "Batch",
    "Classification",
    "Detection",
    "Embedding",
    "ImageQuality",
    "Metric",
    "Regression",
    "Rows",
    "Score",
    "Segmentation",
    "Settings",
    "Summary",
    "Tally",
    "UserMetric",
    "load_metric",
]
