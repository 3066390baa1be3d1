"""From a contract to a metric, and what models say in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import validate_nets as nets

from edgekit.contract import Contract, Decoder, InputContract, OutputContract
from edgekit.datasets.samples import to_boxes
from edgekit.errors import UsageError
from edgekit.measure.tasks import class_count, make_metric, say, say_label
from edgekit.types import TensorSpec
from edgekit.validation.metrics import (
    ClassificationMetric,
    DetectionMetric,
    EmbeddingMetric,
    ImageQuality,
    Regression,
    SegmentationMetric,
)

LABELS = ("ant", "bee", "cat", "dog", "elk")


def of(task, shape=(1, 5), *, labels=LABELS, layout=None, decoder=None) -> Contract:
    tensor = TensorSpec(name="out", shape=shape, layout=layout)
    output = OutputContract(tensor=tensor, task=task, labels=labels, decoder=decoder)
    return Contract(inputs=nets.contract().inputs, outputs=(output,))


@pytest.mark.parametrize(
    ("contract", "metric"),
    [
        (of("classification"), ClassificationMetric()),
        (of("regression"), Regression()),
        (of("embedding", (1, 128)), EmbeddingMetric(samples=70)),
        (of("image-to-image", (1, 16, 16, 3)), ImageQuality(data_range=1.0, layout="NHWC")),
        (of("image-to-image", (1, 3, 16, 16)), ImageQuality(data_range=1.0, layout="NCHW")),
        (of("segmentation", (1, 16, 16, 5)), SegmentationMetric(classes=5, layout="NHWC")),
        (of("segmentation", (1, 5, 16, 16)), SegmentationMetric(classes=5, layout="NCHW")),
        (
            of("segmentation", (1, 21, 16, 16), labels=()),
            SegmentationMetric(classes=21, layout="NCHW"),
        ),
        (of("segmentation", (1, 16, 16)), SegmentationMetric(classes=5, layout="map")),
        (of(None), ClassificationMetric()),
        (of(None, (1, 1)), None),
        (of(None, (1, 4, 4)), None),
    ],
)
def test_each_task_has_its_metric(contract, metric):
    assert make_metric(contract, samples=70) == metric


def test_pictures_up_to_255():
    metric = make_metric(of("image-to-image", (1, 16, 16, 3)), samples=1, span=255.0)
    assert metric == ImageQuality(data_range=255.0, layout="NHWC")


def test_a_detector_needs_a_decoder(tmp_path):
    with pytest.raises(UsageError, match="boxes") as caught:
        make_metric(of("detection", (1, 84, 100)), samples=1)
    assert "yolov8" in caught.value.cure
    decoder = Decoder(format="ssd", scores="out", anchors=str(tmp_path / "none.npy"))
    with pytest.raises(UsageError, match="anchors"):
        make_metric(of("detection", (1, 100, 4), decoder=decoder), samples=1)
    np.save(tmp_path / "none.npy", np.zeros((100, 4)))
    metric = make_metric(of("detection", (1, 100, 4), decoder=decoder), samples=1)
    assert isinstance(metric, DetectionMetric)
    assert metric.size == (16, 16)


def test_a_metric_of_ones_own_goes_before_the_task(tmp_path):
    (tmp_path / "mine.py").write_text("def nothing(reference, candidate, label): return 0")
    metric = make_metric(of("classification"), samples=1, own=f"{tmp_path}/mine.py:nothing")
    assert metric.name == "nothing"


def test_how_many_classes_there_are():
    assert class_count(of("classification", (1, 1, 1, 1000), labels=())) == 1000
    assert class_count(of("segmentation", (1, 21, 16, 16), labels=())) == 21
    assert class_count(of("detection", (1, 84, 100))) == 5
    assert class_count(of(None, (1, 7), labels=())) is None


def test_scores_in_words():
    contract = of("classification")
    assert say(contract, [np.array([0.1, 0.6, 0.2, 0.05, 0.05])]) == "bee 60%, cat 20%, ant 10%"
    logits = np.log([0.1, 0.6, 0.2, 0.05, 0.05]) + 3
    assert say(contract, [logits]) == "bee 60%, cat 20%, ant 10%"
    assert say(contract, [np.array([0.1, np.nan, 0.2, 0, 0])]) == "not a number"
    assert say(
        replace(contract, outputs=(replace(contract.outputs[0], labels=()),)),
        [np.array([0.1, 0.9, 0, 0, 0])],
    ).startswith("class 1 90%")


def test_boxes_in_words():
    contract = of("detection", (1, 9, 6), decoder=Decoder(format="yolov8"))
    output = np.zeros((9, 6))
    output[:4] = np.array([4, 4, 4, 4])[:, None]
    output[0] += np.arange(6) * 20  # far apart
    output[5, :3], output[8, 3], output[6, 4] = 0.9, 0.5, 0.1
    assert say(contract, [output]) == "3 × bee, 1 × elk"
    assert say(contract, [output * 0]) == "no boxes"
    truth = to_boxes([(0, 0, 1, 1), (0, 0, 2, 2)], [2, 2])
    assert say_label(contract, truth) == "2 × cat"


def test_planes_and_values_in_words():
    plane = np.zeros((4, 4, 5))
    plane[:, :3, 1] = 1
    plane[:, 3, 4] = 1
    contract = of("segmentation", (1, 4, 4, 5), layout="NHWC")
    assert say(contract, [plane]) == "bee 75%, elk 25%"
    assert say_label(contract, plane.argmax(-1)) == "bee 75%, elk 25%"
    assert say(of("regression", (1, 2)), [np.array([1.5, -2])]) == "1.5, -2"
    assert say(of(None, (1, 4)), [np.array([0.0, 1, 2, 3])]) == "0 … 3, mean 1.5"
    assert say_label(of("classification"), None) == ""
    assert say_label(of("classification"), 3) == "dog"
    assert say_label(of("regression"), 1.25) == "1.25"


def test_an_input_that_is_no_picture_has_no_boxes():
    tensor = TensorSpec(name="x", shape=(1, 5))
    contract = of("detection", (1, 9, 6), decoder=Decoder(format="yolov8"))
    with pytest.raises(UsageError):
        make_metric(replace(contract, inputs=(InputContract(tensor=tensor),)), samples=1)
