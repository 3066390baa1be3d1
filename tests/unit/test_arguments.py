"""What Python passes is checked at the door, before anything is loaded."""

from __future__ import annotations

import pytest

import edgekit
from edgekit.arguments import check_arguments
from edgekit.errors import EdgekitError, UsageError
from edgekit.pipeline.request import ConversionRequest
from edgekit.pipeline.validation.request import ValidationRequest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "clasification"}, "'classification'"),
        ({"schemes": ["int8", "fp23"]}, "'fp32'"),
        ({"schemes": "itn8"}, "'int8'"),
        ({"effort": "slow"}, "One of: none, fast, balanced, thorough"),
        ({"io_dtype": "unit8"}, "'uint8'"),
        ({"without": ["roundng"]}, "'rounding'"),
        ({"samples": "many"}, "samples is a str"),
        ({"parity_samples": 3.5}, "parity_samples is a float"),
        ({"synthetic": "yes"}, "synthetic is a str"),
        ({"min_sqnr": "20"}, "min_sqnr is a str"),
        ({"calibration": 3.5}, "float gives no samples"),
        ({"feed_color": "RBG"}, "'RGB'"),
    ],
)
def test_a_conversion_refuses_what_it_cannot_mean(arguments, words):
    with pytest.raises(EdgekitError) as caught:
        edgekit.convert("missing.onnx", **arguments)
    assert words in f"{caught.value.cause} {caught.value.cure}"


def test_an_object_in_place_of_a_model_is_told():
    with pytest.raises(UsageError, match="model is a list"):
        edgekit.convert([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "segmentaton"}, "'segmentation'"),
        ({"explain": "sometimes"}, "One of: auto, always, never"),
        ({"device": "gpu"}, "device is 'gpu'"),
        ({"limit": "9"}, "limit is a str"),
    ],
)
def test_a_validation_refuses_what_it_cannot_mean(arguments, words):
    with pytest.raises(UsageError) as caught:
        edgekit.validate("a.tflite", reference="b.onnx", data="c", **arguments)
    assert words in f"{caught.value.cause} {caught.value.cure}"


def test_defaults_and_one_word_for_a_list_are_taken(tmp_path):
    check_arguments(ConversionRequest(model="m", schemes=("int8",), max_drop=1))
    check_arguments(ValidationRequest(candidates=(tmp_path,), reference="r", data=tmp_path))
