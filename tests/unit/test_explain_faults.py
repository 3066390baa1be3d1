"""Planted faults: each is found at its operator, with its cause, and nothing else is blamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from explain_nets import (
    SIZE,
    contract,
    edited,
    explained,
    fused,
    maker,
    net,
    pictures,
    quantized,
    tensor,
)
from quantize_nets import Net

from edgekit.pipeline.explain.given import given_to
from edgekit.tflite.flatbuffer import set_options
from edgekit.tflite.metadata import embed_contract
from edgekit.tflite.model import Model


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = net(tmp_path / "float.tflite")
    embed_contract(path, path, contract())
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pictures")


def found(candidate: Path, reference: Path, data: Path) -> list[tuple[str, str]]:
    faults, _ = explained(candidate, reference, data, candidate.parent / "work")
    return [(op.name, op.cause) for op in faults]


def test_nothing_is_wrong_with_a_clean_int8_file(
    tmp_path: Path, reference: Path, data: Path
) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite")
    faults, verdict = explained(candidate, reference, data, tmp_path / "work")
    assert faults == []
    assert verdict.startswith("Nothing is wrong with a single operator")


@pytest.mark.parametrize("name", ["first", "deep", "small", "scores"])
def test_corrupted_weights_of_one_layer(
    tmp_path: Path, reference: Path, data: Path, name: str
) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite")

    def corrupt(model: Model) -> None:
        weights = maker(model, name).inputs[1]
        assert weights is not None
        shuffled = np.random.default_rng(0).permutation(weights.data().reshape(-1))
        weights.set_data(shuffled.reshape(weights.shape))

    assert found(edited(candidate, corrupt), reference, data) == [(name, "weights-corrupted")]


def test_a_range_that_saturates(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite", widen={"small": 0.3})
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("small", "saturation")]
    assert "lie outside" in faults[0].why


def test_a_range_that_an_outlier_made_too_wide(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite", widen={"small": 60})
    assert found(candidate, reference, data) == [("small", "range-too-wide")]


def test_dead_channels(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite")

    def kill(model: Model) -> None:
        for place in (1, 2):
            values = maker(model, "small").inputs[place]
            assert values is not None
            changed = values.data().copy()
            changed[1:7] = 0
            values.set_data(changed)

    assert found(edited(candidate, kill), reference, data) == [("small", "dead-channels")]


def test_a_transposed_feature_map(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite")

    def straighten(model: Model) -> None:
        order = maker(model, "turned").inputs[1]
        assert order is not None
        order.set_data(np.array([0, 1, 2, 3], np.int32))

    faults, _ = explained(edited(candidate, straighten), reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("turned", "transposed-layout")]
    assert "(0, 2, 1, 3)" in faults[0].why


def test_other_padding(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite")

    def shift(model: Model) -> None:
        rims = maker(model, "padded").inputs[1]
        assert rims is not None
        rims.set_data(np.array([[0, 0], [2, 0], [2, 0], [0, 0]], np.int32))

    faults, _ = explained(edited(candidate, shift), reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("padded", "wrong-padding")]


def test_padding_with_other_values_is_seen_at_the_border(
    tmp_path: Path, reference: Path, data: Path
) -> None:
    def mirror(one: Net) -> None:
        pad = maker(one.model, "padded")
        pad.raw.opcodeIndex = one.model.operator_code("MIRROR_PAD")
        set_options(pad.raw, schema.MirrorPadOptionsT(mode=schema.MirrorPadMode.REFLECT))

    candidate = net(tmp_path / "candidate.tflite", mirror)
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("padded", "wrong-padding")]
    assert "outermost rows" in faults[0].why


def test_an_extra_transposition(tmp_path: Path, reference: Path, data: Path) -> None:
    def turn(one: Net) -> None:
        graph, dense = one.graph, maker(one.model, "scores")
        source = tensor(one.model, "joined")
        extra = graph.add_tensor("extra", source.shape, "float32")
        order = [tensor(one.model, "order")]
        graph.insert_operator(dense.index, "TRANSPOSE", [source, *order], [extra])
        dense.raw.inputs = [extra.index, *dense.raw.inputs[1:]]

    candidate = net(tmp_path / "candidate.tflite", turn)
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("scores", "transposed-layout")]
    assert "an extra TRANSPOSE" in faults[0].why


def test_a_missing_activation(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = net(tmp_path / "candidate.tflite", lambda n: fused(maker(n.model, "small"), "NONE"))
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("small", "different-operator")]
    assert "RELU is missing" in faults[0].why


def test_an_operator_that_is_missing(tmp_path: Path, reference: Path, data: Path) -> None:
    """The sum at the end of a residual is gone: what reads it reads one of its summands."""

    def bypass(one: Net) -> None:
        dense, joined = maker(one.model, "scores"), maker(one.model, "joined")
        dense.raw.inputs = [joined.inputs[0].index, *dense.raw.inputs[1:]]
        del one.graph.raw.operators[joined.index]

    candidate = net(tmp_path / "candidate.tflite", bypass)
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("scores", "different-operator")]
    assert "no ADD" in faults[0].why


def test_an_operator_whose_result_nobody_reads(tmp_path: Path, reference: Path, data: Path) -> None:
    def bypass(one: Net) -> None:
        dense = maker(one.model, "scores")
        dense.raw.inputs = [tensor(one.model, "small").index, *dense.raw.inputs[1:]]

    candidate = net(tmp_path / "candidate.tflite", bypass)
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("scores", "different-operator")]
    assert "reads small and does not read joined" in faults[0].why


def test_a_candidate_that_ends_in_another_output(
    tmp_path: Path, reference: Path, data: Path
) -> None:
    one = Net(1, SIZE, SIZE, 3)
    one.dense(one.conv(one.image, "first", 8, activation="RELU"), "else", 7)
    candidate = one.save(tmp_path / "candidate.tflite", tensor(one.model, "else"))
    embed_contract(candidate, candidate, contract())
    faults, verdict = explained(candidate, reference, data, tmp_path / "work")
    assert faults == []
    assert "No output corresponds" in verdict


def test_nan(tmp_path: Path, reference: Path, data: Path) -> None:
    def poison(one: Net) -> None:
        bias = tensor(one.model, "small_b")
        bias.set_data(np.full_like(bias.data(), np.nan))

    candidate = net(tmp_path / "candidate.tflite", poison)
    embed_contract(candidate, candidate, contract())
    # Whatever comes after it inherits the NaN and is not blamed.
    assert found(candidate, reference, data) == [("small", "nan")]


def test_a_model_that_wants_bgr(tmp_path: Path, reference: Path, data: Path) -> None:
    def swap(one: Net) -> None:
        weights = tensor(one.model, "first_w")
        weights.set_data(np.ascontiguousarray(weights.data()[..., ::-1]))

    candidate = quantized(net(tmp_path / "bgr.tflite", swap), tmp_path / "int8.tflite")
    assert found(candidate, reference, data) == [("image", "channel-order")]


def test_a_contract_that_says_bgr(tmp_path: Path, reference: Path, data: Path) -> None:
    candidate = quantized(reference, tmp_path / "int8.tflite", stated=contract(color="BGR"))
    assert found(candidate, reference, data) == [("image", "channel-order")]


def test_a_contract_with_another_mean_and_std(tmp_path: Path, reference: Path, data: Path) -> None:
    other = contract(scale=1 / 127.5, mean=(1.0,))
    rng = np.random.default_rng(0)
    wide = rng.uniform(-1, 1, (8, 16, 16, 3))
    candidate = quantized(reference, tmp_path / "int8.tflite", stated=other, calibration=wide)
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("image", "normalisation")]
    assert "2, 2, 2 times the reference's input plus -1, -1, -1" in faults[0].why


def test_a_model_that_wants_pixels(tmp_path: Path, reference: Path, data: Path) -> None:
    def scale(one: Net) -> None:
        weights = tensor(one.model, "first_w")
        weights.set_data((weights.data() / 255).astype(np.float32))

    candidate = net(tmp_path / "pixels.tflite", scale)
    embed_contract(candidate, candidate, contract())
    faults, _ = explained(candidate, reference, data, tmp_path / "work")
    assert [(op.name, op.cause) for op in faults] == [("image", "normalisation")]
    assert "0…255" in faults[0].why


def rescaled(one: Net, *, undo: bool) -> None:
    """Multiply the channels of ``deep``; divide them again where they are read, or not."""
    factors = np.array([1, 4, 0.25, 2, 1, 3, 0.5, 1], np.float32)
    for name in ("deep_w", "deep_b"):
        part = tensor(one.model, name)
        part.set_data((part.data() * factors).astype(np.float32))
    if undo:
        for name in ("small_w", "scores_w"):
            weights = tensor(one.model, name)
            tiled = np.tile(factors, weights.shape[-1] // 8)
            weights.set_data((weights.data() / tiled).astype(np.float32))
        for name in ("small_w",):  # what is added to it must have the same factors
            weights = tensor(one.model, name)
            weights.set_data((weights.data() * factors[:, None, None, None]).astype(np.float32))
        bias = tensor(one.model, "small_b")
        bias.set_data((bias.data() * factors).astype(np.float32))


def test_equalized_channels_are_no_fault(tmp_path: Path, reference: Path, data: Path) -> None:
    source = net(tmp_path / "equalized.tflite", lambda one: rescaled(one, undo=True))
    candidate = quantized(source, tmp_path / "int8.tflite")
    assert found(candidate, reference, data) == []


@pytest.mark.parametrize("name", ["first", "small"])
def test_a_fault_does_not_hide_that_channels_are_equalized(
    tmp_path: Path, reference: Path, data: Path, name: str
) -> None:
    # Upstream it spoils the tensors by which factors show, downstream the weights that undo them.
    source = net(tmp_path / "equalized.tflite", lambda one: rescaled(one, undo=True))

    def corrupt(model: Model) -> None:
        weights = maker(model, name).inputs[1]
        assert weights is not None
        shuffled = np.random.default_rng(0).permutation(weights.data().reshape(-1))
        weights.set_data(shuffled.reshape(weights.shape))

    candidate = edited(quantized(source, tmp_path / "int8.tflite"), corrupt)
    assert found(candidate, reference, data) == [(name, "weights-corrupted")]


def test_channels_that_nobody_scales_back_are_one(
    tmp_path: Path, reference: Path, data: Path
) -> None:
    source = net(tmp_path / "scaled.tflite", lambda one: rescaled(one, undo=False))
    candidate = quantized(source, tmp_path / "int8.tflite")
    assert found(candidate, reference, data) == [("deep", "weights-corrupted")]


def test_data_in_the_frameworks_layout_is_turned(tmp_path: Path, reference: Path) -> None:
    from explain_nets import InProcess

    from edgekit.pipeline.explain.request import ExplainRequest

    values = np.random.default_rng(0).random((12, 3, 16, 16), np.float32)
    np.savez(tmp_path / "nchw.npz", image=values)
    request = ExplainRequest(
        candidate=reference, reference=str(reference), data=tmp_path / "nchw.npz"
    )
    workshop = InProcess()
    given = given_to(reference, request, 2, workshop, tmp_path / "data")  # type: ignore[arg-type]
    assert given.sample(0, 0).shape == (1, 16, 16, 3)
    turned = values.transpose(0, 2, 3, 1).astype(np.float64)
    assert any(np.array_equal(given.sample(0, 0)[0], one) for one in turned)
