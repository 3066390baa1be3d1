"""What the flags of the accuracy budget ask of a file, by the model's task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from measuring import reference_of

from edgekit.contract import Task
from edgekit.errors import UsageError
from edgekit.measure.tasks import make_metric
from edgekit.pipeline.budget import budget_gates, check_int8_wishes
from edgekit.pipeline.candidates import compare_stacks
from edgekit.pipeline.request import ConversionRequest
from edgekit.types import TensorSpec


def _asked(task: Task | None, **budget: Any) -> set[str]:
    return {str(gate) for gate in budget_gates(ConversionRequest(model="m", **budget), task)}


@pytest.mark.parametrize("task", [None, "classification"])
def test_a_classifier_is_held_to_its_top_1(task: Task | None) -> None:
    asked = _asked(task, max_drop=0.01, min_agreement=0.98, min_sqnr=20)
    assert asked == {"drop <= 0.01", "top1_agreement >= 0.98", "centred_sqnr_db >= 20"}


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("detection", "map_50_agreement"),
        ("segmentation", "pixel_agreement"),
        ("embedding", "neighbour_agreement"),
        ("image-to-image", "ssim_to_reference"),
    ],
)
def test_other_tasks_are_held_to_what_they_agree_on(task: Task, metric: str) -> None:
    assert _asked(task, max_drop=0.07) == {f"{metric} >= 0.93"}
    assert _asked(task, min_agreement=0.9) == {f"{metric} >= 0.9"}
    assert _asked(task, max_drop=0.05, min_agreement=0.9) == {f"{metric} >= 0.95"}  # the stricter


def test_a_regression_has_nothing_to_count() -> None:
    assert _asked("regression", min_sqnr=30) == {"centred_sqnr_db >= 30"}
    with pytest.raises(UsageError, match="regression"):
        _asked("regression", max_drop=0.01)


@pytest.mark.parametrize(
    "budget",
    [
        {"min_sqnr": float("nan")},
        {"min_sqnr": float("inf")},
        {"max_drop": 1.5},
        {"max_drop": float("nan")},
        {"min_agreement": -0.1},
    ],
)
def test_a_limit_that_nothing_or_everything_meets_is_refused(budget: dict[str, float]) -> None:
    (name,) = budget
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')}"):
        check_int8_wishes(ConversionRequest(model="m", **budget), ("int8",))  # type: ignore[arg-type]


def test_pixels_are_compared_on_the_axes_of_the_framework(tmp_path: Any) -> None:
    """The framework has classes second, the file has them last; 3 of 2 · 20 pixels differ."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, (2, 4, 5))
    mine = np.eye(3, dtype=np.float32)[classes].transpose(0, 3, 1, 2)
    changed = classes.copy()
    for place in ((0, 1, 2), (1, 0, 0), (1, 3, 4)):
        changed[place] = (changed[place] + 1) % 3
    np.save(tmp_path / "other.npy", np.zeros((2, 7), np.float32))
    np.save(tmp_path / "theirs.npy", np.eye(3, dtype=np.float32)[changed])
    reference = reference_of(tmp_path, mine, task="segmentation", layout="NCHW")
    specs = [
        TensorSpec(name="other", shape=(1, 7)),
        TensorSpec(name="planes", shape=(1, 4, 5, 3)),
    ]
    files = [tmp_path / "other.npy", tmp_path / "theirs.npy"]
    metric = make_metric(reference.compared, samples=2)
    found = compare_stacks(reference, specs, files, name="file", metric=metric).values
    assert found["pixel_agreement"] == pytest.approx(37 / 40)
