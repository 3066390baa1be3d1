"""Task metrics: one protocol (`protocol.Metric`), a module for each task."""

from edgekit.validation.metrics.classification import ClassificationMetric, DecisionMetric
from edgekit.validation.metrics.depth import DepthMetric
from edgekit.validation.metrics.detection import DetectionMetric
from edgekit.validation.metrics.embedding import EmbeddingMetric
from edgekit.validation.metrics.image import ImageQuality
from edgekit.validation.metrics.keypoints import KeypointMetric
from edgekit.validation.metrics.protocol import (
    Batch,
    Metric,
    MetricSummary,
    Rows,
    Score,
    Settings,
    Tally,
)
from edgekit.validation.metrics.regression import Regression
from edgekit.validation.metrics.segmentation import SegmentationMetric
from edgekit.validation.metrics.sequence import SequenceMetric
from edgekit.validation.metrics.user import UserMetric, load_metric

__all__ = [
    "Batch",
    "ClassificationMetric",
    "DecisionMetric",
    "DepthMetric",
    "DetectionMetric",
    "EmbeddingMetric",
    "ImageQuality",
    "KeypointMetric",
    "Metric",
    "MetricSummary",
    "Regression",
    "Rows",
    "Score",
    "SegmentationMetric",
    "SequenceMetric",
    "Settings",
    "Tally",
    "UserMetric",
    "load_metric",
]
