"""One contract from several files, and what is told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tflite_builder as tiny
import validate_nets as nets

from edgekit.config import Config
from edgekit.contract import Contract, OutputContract, OutputPart, Preprocess
from edgekit.errors import UsageError
from edgekit.pipeline.validation import contracts
from edgekit.pipeline.validation.request import ValidationRequest
from edgekit.raw_pixels.normalization import raw
from edgekit.runners.protocol import Described
from edgekit.tflite.summary import summarize
from edgekit.types import TensorSpec


def test_the_first_contract_holds_and_files_without_one_do_not_matter():
    said = nets.contract(labels=("a", "b"))
    assert contracts.agreed({"x": None, "y": said}) == said
    assert contracts.agreed({"x": None}) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mean", (0.1,)),
        ("std", (0.5,)),
        ("scale", 1.0),
        ("color", "BGR"),
        ("resize", (8, 8)),
        ("interpolation", "area"),
    ],
)
def test_a_difference_in_preprocessing_is_named(field, value):
    other = nets.contract(preprocess=replace(nets.PREPROCESS, **{field: value}))
    with pytest.raises(UsageError, match=field) as caught:
        contracts.agreed({"one": nets.contract(), "two": other})
    assert "one and two" in caught.value.cause
    assert str(value) in caught.value.cause
    assert contracts.agreed({"one": nets.contract(), "two": other}, (field,)) is not None


def folded() -> Contract:
    """What the file says whose preprocessing was folded in."""
    plain = nets.contract()
    inputs = tuple(
        replace(entry, preprocess=raw(nets.PREPROCESS, "BGR"), folded=nets.PREPROCESS)
        for entry in plain.inputs
    )
    return replace(plain, inputs=inputs)


def test_a_folded_file_and_a_plain_one_agree_on_the_original_model():
    assert contracts.agreed({"raw": folded(), "plain": nets.contract()}) == nets.contract()
    assert contracts.agreed({"raw": folded()}) == nets.contract()


def test_a_reference_that_normalises_by_itself_is_given_pixels():
    agreed = contracts.agreed({"raw": folded()})
    known = contracts.on_raw_pixels(agreed, folded())
    assert known is not None
    assert [entry.preprocess for entry in known.inputs] == [raw(nets.PREPROCESS, "BGR")]
    assert contracts.on_raw_pixels(agreed, nets.contract()) == agreed
    assert contracts.on_raw_pixels(agreed, None) == agreed


def test_other_tasks_classes_and_pictures():
    mine = nets.contract(labels=("a", "b"))
    for other, word in (
        (nets.contract(task="embedding", labels=("a", "b")), "tasks"),
        (nets.contract(labels=("b", "a")), "class names"),
        (nets.contract(labels=("a", "b"), preprocess=None), "picture"),
        (Contract(outputs=mine.outputs), "1 and 0 inputs"),
    ):
        with pytest.raises(UsageError, match=word):
            contracts.agreed({"one": mine, "two": other})


def test_parts_become_the_whole_output():
    def part(start, size):
        return OutputContract(
            tensor=TensorSpec(name=f"head/{start}", shape=(1, size, 7)),
            task="detection",
            part=OutputPart(of="head", axis=1, start=start, size=size),
        )

    other = OutputContract(tensor=TensorSpec(name="other", shape=(1, 2)))
    found = contracts.whole(Contract(outputs=(part(0, 4), part(4, 80), other)))
    assert [entry.tensor.name for entry in found.outputs] == ["head", "other"]
    assert found.outputs[0].tensor.shape == (1, 84, 7)
    assert found.outputs[0].part is None
    assert found.outputs[0].task == "detection"


def test_how_pytorch_takes_a_converted_picture():
    (spec,) = contracts.framework_inputs(nets.contract())
    assert (spec.name, spec.shape, spec.dtype) == ("image", (1, 3, 16, 16), "float32")
    plain = nets.contract(preprocess=None)
    assert contracts.framework_inputs(plain)[0].shape == (1, 16, 16, 3)
    assert contracts.framework_inputs(None) == ()


@pytest.mark.parametrize(
    ("recipe", "scheme"),
    [("static_wi8_ai8", "int8"), ("weight_only_wi8_afp32", None), ("dynamic_wi8_afp32", None)],
)
def test_schemes_are_seen_where_they_can_be(tmp_path, recipe, scheme):
    path = tmp_path / "net.tflite"
    path.write_bytes(tiny.quantized_bytes(recipe))
    assert contracts.scheme_of(summarize(path)) == scheme
    path.write_bytes(tiny.tiny_bytes())
    assert contracts.scheme_of(summarize(path)) == "fp32"


def test_names_of_files_with_the_same_name_have_their_folders():
    files = [Path("a/net.tflite"), Path("b/net.tflite"), Path("b/other.tflite")]
    assert [contracts.name_of(path, files) for path in files] == [
        "a/net.tflite",
        "b/net.tflite",
        "other",
    ]


def test_preprocessing_of_a_picture_is_a_dataclass_of_known_fields():
    """A field that is added to `Preprocess` is compared without another change here."""
    assert set(Preprocess.__dataclass_fields__) >= {"mean", "std", "scale", "color", "crop"}


@pytest.mark.parametrize(
    ("shape", "layout"),
    [((1, 8, 6, 5), "NHWC"), ((1, 5, 8, 6), "NCHW"), ((1, 8, 5, 6), None), ((1, 240), None)],
)
def test_layouts_of_outputs_come_from_the_files(shape, layout):
    mine = nets.contract()
    embedded = replace(
        mine,
        outputs=(
            OutputContract(
                tensor=TensorSpec(name="plane", shape=(1, 8, 6, 5), layout="NHWC"),
                task="segmentation",
            ),
        ),
    )
    described = Described(
        inputs=(TensorSpec(name="image", shape=(1, 3, 16, 16)),),
        outputs=(TensorSpec(name="anything", shape=shape),),
        device="CPU",
    )
    request = ValidationRequest(candidates=(), reference="r", data=Path())
    found = contracts.on_reference(request, Config(), described, embedded)
    assert found.outputs[0].tensor.layout == layout
    assert found.task == "segmentation"
    assert found.inputs[0].tensor.layout == "NCHW"
    assert found.inputs[0].preprocess == nets.PREPROCESS
